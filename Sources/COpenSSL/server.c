// Who a server that we connect to has to be, beyond a chain to an authority.

#include "internal.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <string.h>

int weft_tls_client_context_trust_system(weft_tls_context *context) {
  int result = SSL_CTX_set_default_verify_paths(context->ssl);
  SSL_CTX_set_verify(context->ssl, SSL_VERIFY_PEER, NULL);
  ERR_clear_error();
  return result == 1 ? 0 : -1;
}

int weft_tls_client_context_expect(weft_tls_context *context, int is_uri, const char *name) {
  if (context->expected_count >= weft_expected_max) return -1;
  char *copy = strdup(name);
  if (!copy) return -1;
  context->expected[context->expected_count].is_uri = is_uri;
  context->expected[context->expected_count++].name = copy;
  return 0;
}

void weft_forget_expected(weft_tls_context *context) {
  for (int i = 0; i < context->expected_count; i++) free(context->expected[i].name);
  context->expected_count = 0;
}

static int bears_uri(const GENERAL_NAMES *names, const char *uri) {
  for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
    const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
    if (name->type != GEN_URI) continue;
    const ASN1_IA5STRING *text = name->d.uniformResourceIdentifier;
    size_t bytes = (size_t)ASN1_STRING_length(text);
    if (bytes == strlen(uri) && memcmp(ASN1_STRING_get0_data(text), uri, bytes) == 0) return 1;
  }
  return 0;
}

int weft_is_expected(const weft_tls *tls) {
  const weft_tls_context *context = tls->context;
  if (context->expected_count == 0) return 1;
  X509 *peer = SSL_get0_peer_certificate(tls->ssl);
  if (!peer) return 0;
  GENERAL_NAMES *names = X509_get_ext_d2i(peer, NID_subject_alt_name, NULL, NULL);
  int found = 0;
  for (int i = 0; names && !found && i < context->expected_count; i++) {
    const char *name = context->expected[i].name;
    found = context->expected[i].is_uri
                ? bears_uri(names, name)
                : X509_check_host(peer, name, strlen(name), X509_CHECK_FLAG_NEVER_CHECK_SUBJECT, NULL) == 1;
  }
  GENERAL_NAMES_free(names);
  ERR_clear_error();
  return found;
}
