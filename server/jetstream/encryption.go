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
// A directory is encrypted from its beginning or not at all: nats-server would encrypt
// one that is in clear text in place, without syncing it, and a kill meanwhile loses
// what is in the block that it was at. For the same reason files that are encrypted, of
// which nothing says with which key, are not opened with whatever key is given.
func checkKey(dir, key string) error {
	path := filepath.Join(dir, keyFile)
	noted, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		state, err := storeState(filepath.Join(dir, "jetstream"))
		switch {
		case err != nil:
			return fmt.Errorf("data directory %s: %w", dir, err)
		case state == encrypted:
			return fmt.Errorf("data directory %s is encrypted, and its file %q is missing, which says with which key: restore that, too", dir, keyFile)
		case key == "":
			return nil
		case state == inClear:
			return fmt.Errorf("data directory %s is in clear text: an encryption key is for a new one", dir)
		}
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

// What is in a directory of JetStream's.
type content int

const (
	nothing content = iota
	inClear
	encrypted
)

// storeState looks for JetStream's files of messages, and for those of their keys.
func storeState(store string) (state content, err error) {
	err = filepath.WalkDir(store, func(_ string, entry fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil || entry.IsDir():
			return err
		case strings.HasSuffix(entry.Name(), ".key"):
			state = encrypted
			return fs.SkipAll
		}
		state = max(state, inClear)
		return nil
	})
	return state, err
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
