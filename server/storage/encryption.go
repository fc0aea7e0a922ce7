package storage

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
)

// MinKeyLength is the least length of an encryption key, in bytes: what `openssl rand
// -hex 16` prints has 128 bits.
const MinKeyLength = 32

// keyFile has, in a data directory that is encrypted, the key that JetStream encrypts it
// with, itself encrypted with one of Config.EncryptionKeys. So those can be replaced at
// any moment, by writing one small file: JetStream's own way of replacing a key rewrites
// all that it has in place, without syncing it, and a kill meanwhile loses what it is at.
const keyFile = "encryption"

// directoryKey returns the key for opening a directory with JetStream, and the one of keys that
// encrypts it on the disk. Both are empty for a directory that is not encrypted.
//
// It replaces the key so that this is the first of keys. If that fails, it logs the failure,
// and the directory is opened nevertheless. sealedWith is then another key, or empty if any of
// them may be needed at the next start.
//
// JetStream MUST NOT be opened with a wrong key or without one. It skips the streams that it
// cannot decrypt, and creating them again then deletes their data (tried with nats-server
// 2.15.2, docs/log.md). So the file of another directory is rejected, even if it is encrypted
// with the same configured key, and so are encrypted files without the file with their key.
func directoryKey(dir string, keys []string, log *slog.Logger) (key, sealedWith string, err error) {
	path := filepath.Join(dir, keyFile)
	sealed, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return newDirectoryKey(dir, keys)
	}
	if err != nil {
		return "", "", fmt.Errorf("data directory %s: %w", dir, err)
	}
	if len(keys) == 0 {
		return "", "", fmt.Errorf("data directory %s is encrypted: set encryption_key_file", dir)
	}
	key, used := openWith(string(sealed), keys)
	if used < 0 {
		return "", "", fmt.Errorf("data directory %s is encrypted with another key, or its file %q is damaged", dir, keyFile)
	}
	if err := checkStreams(filepath.Join(dir, storeDir), key); err != nil {
		return "", "", fmt.Errorf("data directory %s does not match its file %q: %w", dir, keyFile, err)
	}
	sealedWith = keys[0]
	if used == 0 {
		// Whoever wrote it may have been killed before it was synced.
		err = syncDir(dir)
	} else {
		err = writeKey(path, key, keys[0])
	}
	if err != nil {
		log.Warn("the encryption key may not have been replaced: keep the previous key on the second line until a reload succeeds",
			"dir", dir, "error", err)
		sealedWith = keys[used]
	}
	if errors.Is(err, errUndecided) {
		sealedWith = ""
	}
	return key, sealedWith, nil
}

// replaceKeys encrypts the directory's key with the first of keys. One of them MUST be the
// current key, because a key file that is read while it is written may have a part of the new
// key only.
func (e *embedded) replaceKeys(keys []string) error {
	path := filepath.Join(e.dir, keyFile)
	sealed, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if _, used := openWith(string(sealed), keys); used < 0 {
		return fmt.Errorf("no key opens the data directory %s: keep the previous key on the second line", e.dir)
	}
	err = writeKey(path, e.key, keys[0])
	switch {
	case err == nil:
		e.sealedWith = keys[0]
	case errors.Is(err, errUndecided):
		e.sealedWith = ""
		return fmt.Errorf("keep the previous key on the second line until a reload succeeds: %w", err)
	}
	return err
}

// newDirectoryKey makes the key of a directory that has none, where it may have one.
func newDirectoryKey(dir string, keys []string) (key, sealedWith string, err error) {
	state, err := storeState(filepath.Join(dir, storeDir))
	switch {
	case err != nil:
		return "", "", fmt.Errorf("data directory %s: %w", dir, err)
	case state == encrypted:
		return "", "", fmt.Errorf("data directory %s is encrypted, and its key file %q is missing: restore it", dir, keyFile)
	case len(keys) == 0:
		return "", "", nil
	case state == inClear:
		return "", "", fmt.Errorf("data directory %s is not encrypted: an encryption key requires a new directory", dir)
	}
	key = rand.Text() // of 128 bits
	return key, keys[0], writeKey(filepath.Join(dir, keyFile), key, keys[0])
}

// sealing returns what a directory's key is encrypted with: AES-256-GCM, under a key that
// HKDF-SHA-256 makes of one that is configured.
func sealing(key string) (cipher.AEAD, error) {
	derived, err := hkdf.Key(sha256.New, []byte(key), nil, "ongair-gateway data directory", 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(derived)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// keyVersion begins a file with a directory's key.
const keyVersion = "v1 "

// openWith decrypts what writeKey wrote with one of keys: used is which, -1 for none.
func openWith(sealed string, keys []string) (key string, used int) {
	for i, with := range keys {
		if key, err := openKey(sealed, with); err == nil {
			return key, i
		}
	}
	return "", -1
}

// openKey decrypts what writeKey wrote.
func openKey(sealed, key string) (string, error) {
	text, ok := strings.CutPrefix(strings.TrimSpace(sealed), keyVersion)
	if !ok {
		return "", errors.New("unknown key version")
	}
	bytes, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return "", err
	}
	aead, err := sealing(key)
	if err != nil {
		return "", err
	}
	opened, err := aead.Open(nil, nil, bytes, []byte(keyVersion))
	return string(opened), err
}

// writeKey writes the key of a directory, encrypted with another one, as writeFile does.
func writeKey(path, directoryKey, key string) error {
	aead, err := sealing(key)
	if err != nil {
		return err
	}
	bytes := aead.Seal(nil, nil, []byte(directoryKey), []byte(keyVersion)) //nolint:gosec // no nonce is given: a random one is made
	return writeFile(path, keyVersion+base64.StdEncoding.EncodeToString(bytes)+"\n")
}
