// Certificates of clients: for which names they are asked for, and what they showed.

#include "internal.h"

#include <limits.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>

uint64_t weft_fingerprint(const void *bytes, size_t count) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int length = 0;
  uint64_t value = 0;
  if (!EVP_Digest(bytes, count, digest, &length, EVP_sha256(), NULL)) return 0;
  memcpy(&value, digest, sizeof value);
  return value;
}

void weft_authority_release(weft_authority *authority) {
  if (!authority) return;
  X509_STORE_free(authority->store);
  sk_X509_NAME_pop_free(authority->names, X509_NAME_free);
  free(authority);
}

// Lists of revoked certificates; how many, or -1 when there is none in it.
static int revoke(X509_STORE *store, const void *pem, size_t bytes) {
  if (bytes == 0) return 0;
  BIO *text = bytes > INT_MAX ? NULL : BIO_new_mem_buf(pem, (int)bytes);
  int count = 0;
  for (X509_CRL *found; text && (found = PEM_read_bio_X509_CRL(text, NULL, NULL, NULL)); X509_CRL_free(found)) {
    if (X509_STORE_add_crl(store, found) == 1) count++;
  }
  BIO_free(text);
  if (count == 0) return -1;
  // Every link of a chain, as nginx has it: who gives no list has nobody's certificates let in.
  return X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL) == 1 ? count : -1;
}

weft_authority *weft_authority_read(const void *pem, size_t bytes, const void *revoked, size_t revoked_bytes, uint64_t id,
                                    int depth, int is_required) {
  weft_authority *authority = calloc(1, sizeof *authority);
  BIO *text = bytes > INT_MAX ? NULL : BIO_new_mem_buf(pem, (int)bytes);
  int count = 0;
  if (authority) {
    authority->store = X509_STORE_new();
    authority->names = sk_X509_NAME_new_null();
    authority->id = id;
    authority->depth = depth;
    authority->is_required = is_required;
  }
  if (authority && authority->store && authority->names && text) {
    for (X509 *found; (found = PEM_read_bio_X509(text, NULL, NULL, NULL)); X509_free(found)) {
      if (X509_STORE_add_cert(authority->store, found) != 1) continue;
      X509_NAME *name = X509_NAME_dup(X509_get_subject_name(found));
      if (name && sk_X509_NAME_push(authority->names, name) <= 0) X509_NAME_free(name);
      count++;
    }
    if (revoke(authority->store, revoked, revoked_bytes) < 0) count = 0;
  }
  BIO_free(text);
  ERR_clear_error();
  if (count > 0) return authority;
  weft_authority_release(authority);
  return NULL;
}

// Every certificate passes here: what is wrong with it stays the connection's result.
static int go_on(int is_good, X509_STORE_CTX *chain) {
  (void)is_good, (void)chain;
  return 1;
}

// The name of RFC 6066 section 3, out of the extension's bytes: list length, kind 0, length, name.
static int name_of(SSL *ssl, char name[256]) {
  const unsigned char *at;
  size_t bytes;
  if (!SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &at, &bytes)) return 0;
  if (bytes < 5 || at[2] != TLSEXT_NAMETYPE_host_name) return 0;
  size_t count = (size_t)at[3] << 8 | at[4];
  if (count > bytes - 5 || count > 255 || memchr(at + 5, 0, count)) return 0;
  memcpy(name, at + 5, count);
  name[count] = 0;
  return 1;
}

// Before any session is looked up: a ticket must not lead past the question.
static int ask_client(SSL *ssl, int *alert, void *argument) {
  (void)alert;
  weft_tls_context *context = argument;
  char name[256];
  weft_authority *authority = context->ask(context->owner, name_of(ssl, name) ? name : NULL);
  if (!authority) return SSL_CLIENT_HELLO_SUCCESS;
  weft_tls *tls = BIO_get_data(SSL_get_rbio(ssl));
  tls->asked = authority->id;
  SSL_set_options(ssl, SSL_OP_NO_TICKET);
  SSL_set_num_tickets(ssl, 0);
  if (authority->is_required) {
    SSL_set_verify(ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
  } else {
    SSL_set_verify(ssl, SSL_VERIFY_PEER, go_on);
  }
  SSL_set_verify_depth(ssl, authority->depth);
  STACK_OF(X509_NAME) *names = sk_X509_NAME_deep_copy(authority->names, X509_NAME_dup, X509_NAME_free);
  if (names) SSL_set_client_CA_list(ssl, names);
  return SSL_set1_verify_cert_store(ssl, authority->store) == 1 ? SSL_CLIENT_HELLO_SUCCESS : SSL_CLIENT_HELLO_ERROR;
}

void weft_tls_context_ask(weft_tls_context *context, weft_tls_ask ask) {
  context->ask = ask;
  SSL_CTX_set_client_hello_cb(context->ssl, ask_client, context);
}

uint64_t weft_tls_asked(const weft_tls *tls) { return tls->asked; }

weft_shown weft_tls_shown(const weft_tls *tls) {
  if (!SSL_get0_peer_certificate(tls->ssl)) return WEFT_SHOWN_NOTHING;
  switch (SSL_get_verify_result(tls->ssl)) {
    case X509_V_OK: return WEFT_SHOWN_TRUSTED;
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_CERT_UNTRUSTED:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE: return WEFT_SHOWN_UNKNOWN;
    default: return WEFT_SHOWN_BAD;
  }
}

size_t weft_tls_client_fact(const weft_tls *tls, weft_client_fact fact, char *into, size_t bytes) {
  X509 *shown = SSL_get0_peer_certificate(tls->ssl);
  BIO *text = shown ? BIO_new(BIO_s_mem()) : NULL;
  if (!text) return 0;
  int is_written = 0;
  switch (fact) {
    case WEFT_CLIENT_SUBJECT: is_written = X509_NAME_print_ex(text, X509_get_subject_name(shown), 0, XN_FLAG_RFC2253) >= 0; break;
    case WEFT_CLIENT_ISSUER: is_written = X509_NAME_print_ex(text, X509_get_issuer_name(shown), 0, XN_FLAG_RFC2253) >= 0; break;
    case WEFT_CLIENT_PEM: is_written = PEM_write_bio_X509(text, shown) == 1; break;
    case WEFT_CLIENT_REASON:
      is_written = BIO_puts(text, X509_verify_cert_error_string(SSL_get_verify_result(tls->ssl))) >= 0;
      break;
  }
  char *at = NULL;
  long count = BIO_get_mem_data(text, &at);
  size_t done = is_written && count > 0 && (size_t)count <= bytes ? (size_t)count : 0;
  if (done > 0) memcpy(into, at, done);
  BIO_free(text);
  ERR_clear_error();
  return done;
}
