package jetstream

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// MinKeyLength is the least length of an encryption key, in bytes: what `openssl rand
// -hex 16` prints has 128 bits.
const MinKeyLength = 32

// keyFile says in a data directory which key it is encrypted with.
const keyFile = "encryption"

// checkKey makes sure that a directory is opened with the key that it is encrypted
// with, and notes the key of one that is not encrypted yet.
//
// JetStream MUST NOT be opened with a wrong key, or without one: it passes over the
// streams that it cannot decrypt, and making them anew then deletes what is there
// (tried with nats-server 2.15.2, docs/log.md).
//
// What the directory has in clear text is encrypted when it is opened with a key for
// the first time. There is no way back.
func checkKey(dir, key string) error {
	path := filepath.Join(dir, keyFile)
	noted, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && key == "":
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return noteKey(path, key)
	case err != nil:
		return fmt.Errorf("data directory %s: %w", dir, err)
	case key == "":
		return fmt.Errorf("data directory %s is encrypted: set the file with its key", dir)
	case !hmac.Equal([]byte(strings.TrimSpace(string(noted))), []byte(keyCheck(key))):
		return fmt.Errorf("data directory %s is encrypted with another key", dir)
	}
	return nil
}

// keyCheck is the same for a key each time, and does not tell it.
func keyCheck(key string) string {
	mac := hmac.New(sha256.New, []byte(key))
	_, _ = mac.Write([]byte("ongair-gateway data directory")) // never fails: see hash.Hash
	return hex.EncodeToString(mac.Sum(nil))
}

// noteKey writes which key a directory is encrypted with. It is on the disk before
// anything is encrypted.
func noteKey(path, key string) (err error) {
	temporary := path + ".new"
	file, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.WriteString(keyCheck(key) + "\n")
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := os.Rename(temporary, path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
