package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Format is the version of everything that the gateway stores: the layout of a data directory,
// the streams with their subjects, stored events, idempotency records, and the cursors of
// clients. A release that cannot use the data of earlier ones has another Format.
const Format = 1

const (
	// formatFile has Format, in decimal with a line break, in every data directory.
	formatFile = "format"
	// metadataFormat is the key of Format in the metadata of every stream.
	metadataFormat = "ongair-format"
)

// checkMetadata fails unless the metadata of an existing stream has Format.
func checkMetadata(stream string, metadata map[string]string) error {
	stamp, ok := metadata[metadataFormat]
	if !ok {
		return fmt.Errorf("stream %s has no format stamp: it is not a released gateway's; "+
			"delete it, or use another NATS account", stream)
	}
	return checkStamp("stream "+stream, stamp)
}

// checkDir fails unless a data directory has Format, and writes the stamp into a new
// one. The stamp is on the disk before anything else is written, so a directory with
// data and without a stamp is not a released gateway's.
func checkDir(dir string) error {
	stamp, err := os.ReadFile(filepath.Join(dir, formatFile))
	if err == nil {
		return checkStamp("data directory "+dir, strings.TrimSuffix(string(stamp), "\n"))
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("data directory %s: %w", dir, err)
	}
	for _, name := range []string{storeDir, keyFile} {
		if _, err := os.Lstat(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("data directory %s has data and no format stamp: it is not a released gateway's; "+
				"move it away to start with an empty one, or restore its file %q", dir, formatFile)
		}
	}
	if err := writeFile(filepath.Join(dir, formatFile), strconv.Itoa(Format)+"\n"); err != nil {
		return fmt.Errorf("data directory %s: %w", dir, err)
	}
	return nil
}

// checkStamp fails unless a stamp is Format. There is no older one yet.
func checkStamp(what, stamp string) error {
	format, err := strconv.ParseUint(stamp, 10, 31)
	switch {
	case err != nil || format == 0:
		return fmt.Errorf("%s has the invalid format stamp %.20q: restore it from a backup", what, stamp)
	case format > Format:
		return fmt.Errorf("%s has format %d, and this gateway knows formats up to %d: use the version that wrote it, or a newer one",
			what, format, Format)
	}
	return nil
}
