#ifndef WEFT_OPENSSL_H
#define WEFT_OPENSSL_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/// A certificate chain with its private key. Counted; counting is atomic.
typedef struct weft_certificate weft_certificate;
/// What the connections of one thread share.
typedef struct weft_tls_context weft_tls_context;
/// One connection, server side. Belongs to its context's thread.
typedef struct weft_tls weft_tls;

/// What is known of a certificate's first element.
typedef struct {
  /// Seconds since 1970.
  int64_t not_before, not_after;
} weft_certificate_facts;

/// Reads PEM: the server's certificate first, then its issuers; and the key of the first. NULL with `reason` (text, ended by NUL)
/// when one cannot be read or they do not belong together.
weft_certificate *weft_certificate_read(const void *chain, size_t chain_bytes, const void *key, size_t key_bytes,
                                        weft_certificate_facts *facts, char *reason, size_t reason_bytes);
/// A new self-signed certificate for names that nobody serves. NULL when there is no memory or randomness.
weft_certificate *weft_certificate_self_signed(const char *common_name);
void weft_certificate_release(weft_certificate *certificate);
/// 1 when the certificate is good for a DNS name: by its subject alternative names, without any by its common name.
int weft_certificate_is_for(const weft_certificate *certificate, const char *name, size_t name_bytes);

enum { WEFT_TICKET_KEY_BYTES = 16 + 32 + 32 };
/// Keys of session tickets, the newest first: name, AES-256 key, HMAC key.
typedef struct {
  int32_t count;
  uint8_t keys[3][WEFT_TICKET_KEY_BYTES];
} weft_ticket_keys;
/// Puts a new random key in front; the oldest goes. 0 or -1.
int weft_ticket_keys_rotate(weft_ticket_keys *keys);

/// The certificate for a name (NULL: the client named none), owned by the caller's table and alive until the next swap.
typedef weft_certificate *(*weft_tls_select)(void *owner, const char *name);

/// TLS 1.2 and 1.3. `output_bytes` bounds what one call may have to say.
weft_tls_context *weft_tls_context_make(weft_tls_select select, void *owner, size_t output_bytes);
void weft_tls_context_free(weft_tls_context *context);
void weft_tls_context_set_keys(weft_tls_context *context, const weft_ticket_keys *keys);
/// Whether `h2` is agreed to when a client offers it.
void weft_tls_context_offer_http2(weft_tls_context *context, int offers);
/// What the last call collected for the peer; valid until the next call on any connection of the context.
const void *weft_tls_output(const weft_tls_context *context, size_t *bytes);

/// Who has to have signed the certificates of clients. Counted by its owner alone.
typedef struct weft_authority weft_authority;
/// Reads PEM certificates. `id` is told of connections that were asked (not 0); `depth` is how many links a chain may have between
/// a client's certificate and an authority. `revoked` are lists of revoked certificates (PEM; none: nothing is looked up); with them
/// each authority of a chain needs one that is not out of date. `is_required`: the handshake fails without a good certificate. NULL
/// when there is no certificate in it, or no list where there should be one.
weft_authority *weft_authority_read(const void *pem, size_t bytes, const void *revoked, size_t revoked_bytes, uint64_t id,
                                    int depth, int is_required);
void weft_authority_release(weft_authority *authority);
/// The first half of a half of SHA-256: nobody makes other bytes that have it. 0 without memory.
uint64_t weft_fingerprint(const void *bytes, size_t count);
/// The authority for a name (NULL: the client named none), alive until the next swap; NULL: clients are not asked.
typedef weft_authority *(*weft_tls_ask)(void *owner, const char *name);
/// Asks clients of some names for a certificate. Whatever they show, the handshake goes on, unless the authority is one that
/// requires: what to do about it is decided for a request. Sessions of such names are neither resumed nor given tickets for: a ticket of another name proves nothing.
void weft_tls_context_ask(weft_tls_context *context, weft_tls_ask ask);

/// The same for connections that we make. PEM: the authorities that a server's certificate has to be signed by (none: it is not
/// verified), and a chain with its key to show when asked (none: nothing is). NULL when one cannot be read.
weft_tls_context *weft_tls_client_context_make(const void *authorities, size_t authorities_bytes, const void *chain,
                                               size_t chain_bytes, const void *key, size_t key_bytes, size_t output_bytes);
/// Certificates of servers are verified, and what the machine trusts is trusted too (SSL_CERT_FILE and SSL_CERT_DIR of OpenSSL). 0 or -1.
int weft_tls_client_context_trust_system(weft_tls_context *context);
enum { weft_expected_max = 16 };
/// A server's certificate has to bear this subject alternative name, or another one that was added: a DNS name, or with `is_uri` a
/// URI to the letter. The name that it is asked under is then not compared. 0, or -1 when there are too many.
int weft_tls_client_context_expect(weft_tls_context *context, int is_uri, const char *name);
/// What else a context for connections that we make is held to: links of a chain between the server's certificate and an authority
/// (0: OpenSSL's own), ciphers of TLS 1.2 as OpenSSL lists them (empty: ours), the oldest and newest version (12 or 13), and
/// whether the server's name is only checked and not sent. 0 or -1.
int weft_tls_client_context_limit(weft_tls_context *context, int depth, const char *ciphers, int oldest, int newest,
                                  int hides_name);
/// A connection that we make to a server of this name (empty: none is asked for). Speaks HTTP/2 only, or HTTP/1.1 only.
weft_tls *weft_tls_make_client(weft_tls_context *context, int descriptor, const char *name, int http2);

/// A connection that reads from `descriptor`, which it does not own.
weft_tls *weft_tls_make(weft_tls_context *context, int descriptor);
void weft_tls_free(weft_tls *tls);
/// The socket has become readable: reads may go to the kernel again.
void weft_tls_set_readable(weft_tls *tls, int is_finished);
/// 1 done, 0 more bytes are needed, -1 failed.
int weft_tls_handshake(weft_tls *tls);
/// Bytes read, 0 when it would block, -1 at the peer's end, -2 when broken.
ssize_t weft_tls_read(weft_tls *tls, void *into, size_t bytes);
/// 1 when another read may give something without the socket becoming readable.
int weft_tls_has_more(const weft_tls *tls);
/// Seals bytes into the context's output, behind what is there. 0 or -1.
int weft_tls_write(weft_tls *tls, const void *from, size_t bytes);
/// Begins a new output.
void weft_tls_begin(weft_tls_context *context);
/// Says that nothing more will be sent. Into the output.
void weft_tls_close(weft_tls *tls);
/// The name that the client asked for; NULL for none. Lives as long as the connection's session.
const char *weft_tls_server_name(const weft_tls *tls);
/// 1 when HTTP/2 was agreed on.
int weft_tls_is_http2(const weft_tls *tls);
/// 1 when a session was resumed.
int weft_tls_is_resumed(const weft_tls *tls);
/// The id of the authority that the client was asked for; 0 when it was not asked.
uint64_t weft_tls_asked(const weft_tls *tls);
/// What a client showed when it was asked.
typedef enum {
  WEFT_SHOWN_NOTHING,
  WEFT_SHOWN_TRUSTED,
  /// Signed by somebody who is not known here, and otherwise good as far as that can be said.
  WEFT_SHOWN_UNKNOWN,
  WEFT_SHOWN_BAD,
} weft_shown;
weft_shown weft_tls_shown(const weft_tls *tls);
typedef enum { WEFT_CLIENT_SUBJECT, WEFT_CLIENT_ISSUER, WEFT_CLIENT_PEM, WEFT_CLIENT_REASON } weft_client_fact;
/// A fact of the client's certificate as text: distinguished names as RFC 2253 has them. How many bytes; 0 without a certificate,
/// or when there is no room.
size_t weft_tls_client_fact(const weft_tls *tls, weft_client_fact fact, char *into, size_t bytes);
/// 12 or 13 for TLS 1.2 or 1.3.
int weft_tls_version(const weft_tls *tls);
/// Why the last call failed, shortly; empty when OpenSSL does not know. Forgets it.
void weft_tls_reason(char *reason, size_t bytes);

/// 1 when a password has this hash: `$apr1$`, `{SHA}`, or any that crypt(3) of the system knows and that begins with `$`. Slow
/// hashes take their time in here. The password has no NUL.
int weft_password_matches(const void *password, size_t bytes, const char *hash);

#endif
