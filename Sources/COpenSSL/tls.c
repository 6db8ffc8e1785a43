// One thread's context and its connections.
//
// A connection reads its socket straight into OpenSSL's buffer, as much as is there (read ahead), and remembers a short read, so
// that the usual request costs one recv(2). What it writes is collected in the context and leaves in one send(2).

#include "internal.h"

#include <errno.h>
#include <limits.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/params.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <sys/socket.h>

// MARK: the socket below

static int bio_read(BIO *bio, char *into, size_t bytes, size_t *got) {
  weft_tls *tls = BIO_get_data(bio);
  BIO_clear_retry_flags(bio);
  *got = 0;
  if (tls->is_drained) {
    BIO_set_retry_read(bio);
    return 0;
  }
  ssize_t count;
  do count = recv(tls->descriptor, into, bytes, MSG_DONTWAIT);
  while (count < 0 && errno == EINTR);
  if (count > 0) {
    if ((size_t)count < bytes && !tls->is_finished) tls->is_drained = 1;
    *got = (size_t)count;
    return 1;
  }
  if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
    tls->is_drained = 1;
    BIO_set_retry_read(bio);
  } else if (count == 0) {
    BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
  }
  return 0;
}

static int bio_write(BIO *bio, const char *from, size_t bytes, size_t *done) {
  weft_tls_context *context = ((weft_tls *)BIO_get_data(bio))->context;
  BIO_clear_retry_flags(bio);
  *done = 0;
  if (bytes > context->output_max - context->output_count) return 0;
  memcpy(context->output + context->output_count, from, bytes);
  context->output_count += bytes;
  *done = bytes;
  return 1;
}

static long bio_control(BIO *bio, int command, long number, void *pointer) {
  (void)number, (void)pointer;
  if (command == BIO_CTRL_FLUSH) return 1;
  if (command == BIO_CTRL_EOF) return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0;
  return 0;
}

// MARK: the context

static int choose_certificate(SSL *ssl, void *argument) {
  weft_tls_context *context = argument;
  const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
  weft_certificate *found = context->select(context->owner, name);
  if (!found) return 0;
  return SSL_use_cert_and_key(ssl, found->own, found->key, found->issuers, 1);
}

static int choose_protocol(SSL *ssl, const unsigned char **chosen, unsigned char *chosen_bytes, const unsigned char *offered,
                           unsigned int bytes, void *argument) {
  (void)ssl;
  static const unsigned char both[] = "\x02h2\x08http/1.1", one[] = "\x08http/1.1";
  const weft_tls_context *context = argument;
  const unsigned char *ours = context->offers_http2 ? both : one;
  unsigned int count = (unsigned int)(context->offers_http2 ? sizeof both : sizeof one) - 1;
  int result = SSL_select_next_proto((unsigned char **)chosen, chosen_bytes, ours, count, offered, bytes);
  return result == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

// RFC 5077 section 4: key name, AES-256-CBC, HMAC-SHA-256. 1 use, 2 use and give a new ticket, 0 unknown.
static int ticket_key(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac,
                      int is_encrypting) {
  weft_tls_context *context = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
  const weft_ticket_keys *keys = &context->keys;
  int index = 0;
  if (!is_encrypting) {
    while (index < keys->count && memcmp(keys->keys[index], name, 16) != 0) index++;
  }
  if (index >= keys->count) return is_encrypting ? -1 : 0;
  const uint8_t *key = keys->keys[index];
  OSSL_PARAM parameters[] = {
      OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, (void *)(key + 48), 32),
      OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, "sha256", 0),
      OSSL_PARAM_construct_end(),
  };
  if (!EVP_MAC_CTX_set_params(mac, parameters)) return -1;
  if (is_encrypting) {
    memcpy(name, key, 16);
    if (RAND_bytes(iv, 16) != 1) return -1;
    return EVP_EncryptInit_ex2(cipher, EVP_aes_256_cbc(), key + 16, iv, NULL) ? 1 : -1;
  }
  if (!EVP_DecryptInit_ex2(cipher, EVP_aes_256_cbc(), key + 16, iv, NULL)) return -1;
  // TLS 1.3 gives a new ticket after each resumption anyway; a ticket of an old key must not live on.
  return index > 0 || SSL_version(ssl) == TLS1_3_VERSION ? 2 : 1;
}

int weft_ticket_keys_rotate(weft_ticket_keys *keys) {
  uint8_t fresh[WEFT_TICKET_KEY_BYTES];
  if (RAND_bytes(fresh, sizeof fresh) != 1) return -1;
  memmove(keys->keys[1], keys->keys[0], 2 * WEFT_TICKET_KEY_BYTES);
  memcpy(keys->keys[0], fresh, sizeof fresh);
  OPENSSL_cleanse(fresh, sizeof fresh);
  if (keys->count < 3) keys->count++;
  return 0;
}

static weft_tls_context *context_of(const SSL_METHOD *method, size_t output_bytes) {
  weft_tls_context *context = calloc(1, sizeof *context);
  if (!context) return NULL;
  context->output = malloc(output_bytes);
  context->output_max = output_bytes;
  context->method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "weft");
  SSL_CTX *ssl = context->ssl = SSL_CTX_new(method);
  if (!context->output || !context->method || !ssl) {
    weft_tls_context_free(context);
    return NULL;
  }
  BIO_meth_set_read_ex(context->method, bio_read);
  BIO_meth_set_write_ex(context->method, bio_write);
  BIO_meth_set_ctrl(context->method, bio_control);
  SSL_CTX_set_app_data(ssl, context);
  SSL_CTX_set_min_proto_version(ssl, TLS1_2_VERSION);
  SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_read_ahead(ssl, 1);
  // Forward secrecy and authenticated encryption only.
  SSL_CTX_set_cipher_list(ssl,
                          "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
                          "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305");
  SSL_CTX_set1_groups_list(ssl, "X25519:P-256:P-384");
  return context;
}

weft_tls_context *weft_tls_context_make(weft_tls_select select, void *owner, size_t output_bytes) {
  weft_tls_context *context = context_of(TLS_server_method(), output_bytes);
  if (!context) return NULL;
  context->select = select;
  context->owner = owner;
  SSL_CTX *ssl = context->ssl;
  SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE |
                               SSL_OP_PRIORITIZE_CHACHA | SSL_OP_IGNORE_UNEXPECTED_EOF);
  // Sessions live in their tickets: nothing is kept here, and any thread can resume them.
  SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_timeout(ssl, 7200);
  SSL_CTX_set_num_tickets(ssl, 1);
  SSL_CTX_set_session_id_context(ssl, (const unsigned char *)"weft", 4);
  SSL_CTX_set_tlsext_ticket_key_evp_cb(ssl, ticket_key);
  SSL_CTX_set_alpn_select_cb(ssl, choose_protocol, context);
  SSL_CTX_set_cert_cb(ssl, choose_certificate, context);
  return context;
}

// Certificates of the authorities, one behind the other.
static int trust(SSL_CTX *ssl, const void *pem, size_t bytes) {
  if (bytes > INT_MAX) return -1;
  BIO *bio = BIO_new_mem_buf(pem, (int)bytes);
  int count = 0;
  X509 *found;
  while (bio && (found = PEM_read_bio_X509(bio, NULL, NULL, NULL))) {
    if (X509_STORE_add_cert(SSL_CTX_get_cert_store(ssl), found) == 1) count++;
    X509_free(found);
  }
  BIO_free(bio);
  ERR_clear_error();
  return count > 0 ? 0 : -1;
}

weft_tls_context *weft_tls_client_context_make(const void *authorities, size_t authorities_bytes, const void *chain,
                                               size_t chain_bytes, const void *key, size_t key_bytes, size_t output_bytes) {
  weft_tls_context *context = context_of(TLS_client_method(), output_bytes);
  if (!context) return NULL;
  SSL_CTX *ssl = context->ssl;
  SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_IGNORE_UNEXPECTED_EOF);
  SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
  int result = 0;
  if (authorities_bytes > 0) {
    result = trust(ssl, authorities, authorities_bytes);
    SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER, NULL);
  }
  if (result == 0 && chain_bytes > 0) {
    char reason[160];
    weft_certificate_facts facts;
    weft_certificate *own = weft_certificate_read(chain, chain_bytes, key, key_bytes, &facts, reason, sizeof reason);
    if (!own || SSL_CTX_use_cert_and_key(ssl, own->own, own->key, own->issuers, 1) != 1) result = -1;
    weft_certificate_release(own);
  }
  if (result == 0) return context;
  weft_tls_context_free(context);
  return NULL;
}

void weft_tls_context_free(weft_tls_context *context) {
  if (!context) return;
  SSL_CTX_free(context->ssl);
  weft_forget_expected(context);
  BIO_meth_free(context->method);
  OPENSSL_cleanse(&context->keys, sizeof context->keys);
  free(context->output);
  free(context);
}

void weft_tls_context_set_keys(weft_tls_context *context, const weft_ticket_keys *keys) { context->keys = *keys; }
void weft_tls_context_offer_http2(weft_tls_context *context, int offers) { context->offers_http2 = offers; }

const void *weft_tls_output(const weft_tls_context *context, size_t *bytes) {
  *bytes = context->output_count;
  return context->output;
}

void weft_tls_begin(weft_tls_context *context) { context->output_count = 0; }

// MARK: a connection

static weft_tls *connection_of(weft_tls_context *context, int descriptor) {
  weft_tls *tls = calloc(1, sizeof *tls);
  if (!tls) return NULL;
  tls->context = context;
  tls->descriptor = descriptor;
  tls->ssl = SSL_new(context->ssl);
  BIO *bio = BIO_new(context->method);
  if (!tls->ssl || !bio) {
    BIO_free(bio);
    weft_tls_free(tls);
    return NULL;
  }
  BIO_set_data(bio, tls);
  BIO_set_init(bio, 1);
  SSL_set_bio(tls->ssl, bio, bio);
  return tls;
}

weft_tls *weft_tls_make(weft_tls_context *context, int descriptor) {
  weft_tls *tls = connection_of(context, descriptor);
  if (tls) SSL_set_accept_state(tls->ssl);
  return tls;
}

weft_tls *weft_tls_make_client(weft_tls_context *context, int descriptor, const char *name, int http2) {
  weft_tls *tls = connection_of(context, descriptor);
  if (!tls) return NULL;
  SSL_set_connect_state(tls->ssl);
  int is_set = SSL_set_alpn_protos(tls->ssl, (const unsigned char *)(http2 ? "\x02h2" : "\x08http/1.1"), http2 ? 3 : 9) == 0;
  if (name[0]) {
    is_set = is_set && SSL_set_tlsext_host_name(tls->ssl, name) == 1;
    if (SSL_get_verify_mode(tls->ssl) != SSL_VERIFY_NONE && context->expected_count == 0)
      is_set = is_set && SSL_set1_host(tls->ssl, name) == 1;
  }
  if (is_set) return tls;
  weft_tls_free(tls);
  return NULL;
}

void weft_tls_free(weft_tls *tls) {
  if (!tls) return;
  SSL_free(tls->ssl);
  free(tls);
}

void weft_tls_set_readable(weft_tls *tls, int is_finished) {
  tls->is_drained = 0;
  if (is_finished) tls->is_finished = 1;
}

int weft_tls_handshake(weft_tls *tls) {
  ERR_clear_error();
  weft_tls_begin(tls->context);
  int result = SSL_do_handshake(tls->ssl);
  if (result == 1) return weft_is_expected(tls) ? 1 : -1;
  return SSL_get_error(tls->ssl, result) == SSL_ERROR_WANT_READ ? 0 : -1;
}

ssize_t weft_tls_read(weft_tls *tls, void *into, size_t bytes) {
  ERR_clear_error();
  weft_tls_begin(tls->context);
  size_t got = 0;
  int result = SSL_read_ex(tls->ssl, into, bytes, &got);
  if (result == 1) return (ssize_t)got;
  switch (SSL_get_error(tls->ssl, result)) {
    case SSL_ERROR_WANT_READ: return 0;
    case SSL_ERROR_ZERO_RETURN: return -1;
    default: return -2;
  }
}

int weft_tls_has_more(const weft_tls *tls) { return !tls->is_drained || SSL_has_pending(tls->ssl); }

int weft_tls_write(weft_tls *tls, const void *from, size_t bytes) {
  ERR_clear_error();
  const unsigned char *at = from;
  while (bytes > 0) {
    size_t done = 0;
    if (SSL_write_ex(tls->ssl, at, bytes, &done) != 1) return -1;
    at += done;
    bytes -= done;
  }
  return 0;
}

void weft_tls_close(weft_tls *tls) {
  ERR_clear_error();
  weft_tls_begin(tls->context);
  if (SSL_is_init_finished(tls->ssl)) SSL_shutdown(tls->ssl);
  ERR_clear_error();
}

int weft_tls_is_http2(const weft_tls *tls) {
  const unsigned char *name;
  unsigned int bytes;
  SSL_get0_alpn_selected(tls->ssl, &name, &bytes);
  return bytes == 2 && memcmp(name, "h2", 2) == 0;
}

const char *weft_tls_server_name(const weft_tls *tls) { return SSL_get_servername(tls->ssl, TLSEXT_NAMETYPE_host_name); }
int weft_tls_is_resumed(const weft_tls *tls) { return SSL_session_reused(tls->ssl); }
int weft_tls_version(const weft_tls *tls) { return SSL_version(tls->ssl) == TLS1_3_VERSION ? 13 : 12; }
