// Passwords against hashes as htpasswd writes them. Comparisons take the same time whatever differs.

#include "internal.h"

#include <crypt.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

static int is_equal(const char *a, const char *b) {
  size_t count = strlen(a);
  return count == strlen(b) && CRYPTO_memcmp(a, b, count) == 0;
}

// "{SHA}" and the base64 of SHA-1.
static int matches_sha(const char *password, size_t bytes, const char *hash) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int length = 0;
  char text[64];
  if (!EVP_Digest(password, bytes, digest, &length, EVP_sha1(), NULL) || length != 20) return 0;
  EVP_EncodeBlock((unsigned char *)text, digest, (int)length);
  return is_equal(text, hash);
}

static void put_sextets(char **out, unsigned long value, int count) {
  static const char letters[] = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  for (; count > 0; count--, value >>= 6) *(*out)++ = letters[value & 63];
}

// Apache's variant of the MD5 hash of crypt(3): 1,000 rounds over password, salt and digest.
static int matches_apr1(const char *password, size_t bytes, const char *hash) {
  const char *salt = hash + 6;
  size_t salt_bytes = strcspn(salt, "$");
  if (salt_bytes > 8) salt_bytes = 8;
  unsigned char digest[16];
  int ok = 1;
  EVP_MD_CTX *context = EVP_MD_CTX_new();
  if (!context) return 0;
  ok &= EVP_DigestInit_ex(context, EVP_md5(), NULL) && EVP_DigestUpdate(context, password, bytes) &&
        EVP_DigestUpdate(context, salt, salt_bytes) && EVP_DigestUpdate(context, password, bytes) &&
        EVP_DigestFinal_ex(context, digest, NULL);
  ok &= EVP_DigestInit_ex(context, EVP_md5(), NULL) && EVP_DigestUpdate(context, password, bytes) &&
        EVP_DigestUpdate(context, "$apr1$", 6) && EVP_DigestUpdate(context, salt, salt_bytes);
  for (size_t left = bytes; ok && left > 0; left -= left > 16 ? 16 : left)
    ok &= EVP_DigestUpdate(context, digest, left > 16 ? 16 : left);
  for (size_t bits = bytes; ok && bits > 0; bits >>= 1) ok &= EVP_DigestUpdate(context, bits & 1 ? "" : password, 1);
  ok = ok && EVP_DigestFinal_ex(context, digest, NULL);
  for (int round = 0; ok && round < 1000; round++) {
    ok &= EVP_DigestInit_ex(context, EVP_md5(), NULL);
    ok &= round & 1 ? EVP_DigestUpdate(context, password, bytes) : EVP_DigestUpdate(context, digest, 16);
    if (round % 3) ok &= EVP_DigestUpdate(context, salt, salt_bytes);
    if (round % 7) ok &= EVP_DigestUpdate(context, password, bytes);
    ok &= round & 1 ? EVP_DigestUpdate(context, digest, 16) : EVP_DigestUpdate(context, password, bytes);
    ok &= EVP_DigestFinal_ex(context, digest, NULL);
  }
  EVP_MD_CTX_free(context);
  if (!ok) return 0;
  char text[48];
  char *out = text + snprintf(text, 24, "$apr1$%.*s$", (int)salt_bytes, salt);
  for (int index = 0; index < 5; index++) {
    int third = index == 4 ? 5 : index + 12;
    put_sextets(&out, (unsigned long)digest[index] << 16 | (unsigned long)digest[index + 6] << 8 | digest[third], 4);
  }
  put_sextets(&out, digest[11], 2);
  *out = 0;
  return is_equal(text, hash);
}

int weft_password_matches(const void *password, size_t bytes, const char *hash) {
  char text[512];
  if (bytes >= sizeof text || strlen(hash) >= 384) return 0;
  memcpy(text, password, bytes);
  text[bytes] = 0;
  int matches = 0;
  if (!strncmp(hash, "$apr1$", 6)) {
    matches = matches_apr1(text, bytes, hash);
  } else if (!strncmp(hash, "{SHA}", 5)) {
    matches = matches_sha(text, bytes, hash + 5);
  } else if (hash[0] == '$') {
    struct crypt_data *data = calloc(1, sizeof *data);
    const char *made = data ? crypt_r(text, hash, data) : NULL;
    matches = made && made[0] == '$' && is_equal(made, hash);
    free(data);
  }
  OPENSSL_cleanse(text, sizeof text);
  return matches;
}
