// Certificates with their keys: read from PEM, checked, counted.

#include "internal.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { CHAIN_MAX = 16 };

void weft_tls_reason(char *reason, size_t bytes) {
  if (bytes == 0) return;
  reason[0] = 0;
  unsigned long code = ERR_peek_last_error();
  const char *text = code ? ERR_reason_error_string(code) : NULL;
  if (text) snprintf(reason, bytes, "%s", text);
  ERR_clear_error();
}

static void say(char *reason, size_t bytes, const char *what) {
  char detail[160];
  weft_tls_reason(detail, sizeof detail);
  snprintf(reason, bytes, detail[0] ? "%s (%s)" : "%s", what, detail);
}

// Without it OpenSSL would ask for the password of an encrypted key on the terminal.
static int no_password(char *buffer, int bytes, int writing, void *data) {
  (void)buffer, (void)bytes, (void)writing, (void)data;
  return -1;
}

static int64_t seconds_of(const ASN1_TIME *time) {
  struct tm parts;
  if (!time || !ASN1_TIME_to_tm(time, &parts)) return 0;
  return (int64_t)timegm(&parts);
}

static weft_certificate *empty(void) {
  weft_certificate *certificate = calloc(1, sizeof *certificate);
  if (certificate && !(certificate->issuers = sk_X509_new_null())) {
    free(certificate);
    return NULL;
  }
  return certificate;
}

void weft_certificate_release(weft_certificate *certificate) {
  if (!certificate) return;
  X509_free(certificate->own);
  EVP_PKEY_free(certificate->key);
  sk_X509_pop_free(certificate->issuers, X509_free);
  free(certificate);
}

weft_certificate *weft_certificate_read(const void *chain, size_t chain_bytes, const void *key, size_t key_bytes,
                                        weft_certificate_facts *facts, char *reason, size_t reason_bytes) {
  ERR_clear_error();
  const char *what = "there is no memory";
  weft_certificate *certificate = empty();
  BIO *text = BIO_new_mem_buf(chain, (int)(chain_bytes > INT32_MAX ? 0 : chain_bytes));
  if (!certificate || !text) goto failed;
  what = "tls.crt is no PEM certificate";
  certificate->own = PEM_read_bio_X509(text, NULL, no_password, NULL);
  if (!certificate->own) goto failed;
  for (;;) {
    X509 *issuer = PEM_read_bio_X509(text, NULL, no_password, NULL);
    if (!issuer) {
      // The end of the text is the usual way out; anything else is a certificate that is broken.
      if (ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE) break;
      what = "tls.crt has a broken certificate behind the first";
      goto failed;
    }
    if (sk_X509_num(certificate->issuers) >= CHAIN_MAX || !sk_X509_push(certificate->issuers, issuer)) {
      X509_free(issuer);
      what = "tls.crt has more than 16 issuers";
      goto failed;
    }
  }
  ERR_clear_error();
  BIO_free(text);
  text = BIO_new_mem_buf(key, (int)(key_bytes > INT32_MAX ? 0 : key_bytes));
  if (!text) goto failed;
  what = "tls.key is no PEM private key without a password";
  certificate->key = PEM_read_bio_PrivateKey(text, NULL, no_password, NULL);
  if (!certificate->key) goto failed;
  what = "tls.key is not the key of the first certificate in tls.crt";
  if (X509_check_private_key(certificate->own, certificate->key) != 1) goto failed;
  // Whether the library would serve it (a key too short, an algorithm nobody speaks) shows now, not at the first client.
  what = "the certificate cannot be served";
  SSL_CTX *probe = SSL_CTX_new(TLS_server_method());
  int is_usable = probe && SSL_CTX_use_cert_and_key(probe, certificate->own, certificate->key, certificate->issuers, 1) == 1;
  SSL_CTX_free(probe);
  if (!is_usable) goto failed;
  if (facts) {
    facts->not_before = seconds_of(X509_get0_notBefore(certificate->own));
    facts->not_after = seconds_of(X509_get0_notAfter(certificate->own));
  }
  BIO_free(text);
  return certificate;
failed:
  say(reason, reason_bytes, what);
  BIO_free(text);
  weft_certificate_release(certificate);
  return NULL;
}

weft_certificate *weft_certificate_self_signed(const char *common_name) {
  weft_certificate *certificate = empty();
  if (!certificate) return NULL;
  X509 *x = certificate->own = X509_new();
  certificate->key = EVP_EC_gen("P-256");
  if (!x || !certificate->key) goto failed;
  uint64_t serial;
  if (RAND_bytes((unsigned char *)&serial, sizeof serial) != 1) goto failed;
  X509_set_version(x, 2);
  ASN1_INTEGER_set_uint64(X509_get_serialNumber(x), serial >> 1 | 1);
  X509_gmtime_adj(X509_getm_notBefore(x), -3600);
  X509_gmtime_adj(X509_getm_notAfter(x), 365L * 86400);
  X509_NAME *name = X509_get_subject_name(x);
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)common_name, -1, -1, 0);
  X509_set_issuer_name(x, name);
  X509_set_pubkey(x, certificate->key);
  if (X509_sign(x, certificate->key, EVP_sha256()) > 0) return certificate;
failed:
  ERR_clear_error();
  weft_certificate_release(certificate);
  return NULL;
}

int weft_certificate_is_for(const weft_certificate *certificate, const char *name, size_t name_bytes) {
  int result = X509_check_host(certificate->own, name, name_bytes, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, NULL);
  ERR_clear_error();
  return result == 1;
}
