#ifndef WEFT_OPENSSL_INTERNAL_H
#define WEFT_OPENSSL_INTERNAL_H

#include "COpenSSL.h"

#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <stdlib.h>

struct weft_certificate {
  X509 *own;
  EVP_PKEY *key;
  STACK_OF(X509) *issuers;
};

struct weft_authority {
  X509_STORE *store;
  STACK_OF(X509_NAME) *names;
  uint64_t id;
  int depth;
  // Without a good certificate the handshake fails.
  int is_required;
};

struct weft_tls_context {
  SSL_CTX *ssl;
  BIO_METHOD *method;
  weft_tls_select select;
  weft_tls_ask ask;
  void *owner;
  weft_ticket_keys keys;
  int offers_http2;
  // One of these a server has to bear, in place of the name that it is asked under.
  struct {
    int is_uri;
    char *name;
  } expected[weft_expected_max];
  int expected_count;
  int hides_name;
  unsigned char *output;
  size_t output_count, output_max;
};

struct weft_tls {
  SSL *ssl;
  weft_tls_context *context;
  int descriptor;
  // The last read got less than it asked for and the peer has not finished: the socket is empty.
  int is_drained;
  int is_finished;
  // The authority that the client was asked for; 0 for none.
  uint64_t asked;
};

/// Whether a server's certificate bears one of the context's names; 1 when the context has none.
int weft_is_expected(const weft_tls *tls);
void weft_forget_expected(weft_tls_context *context);

#endif
