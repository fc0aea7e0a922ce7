package config

import (
	"crypto/sha256"
	"maps"
	"reflect"
	"slices"
)

// NeedsRestart returns an error of type Problems. It lists every setting that differs between the
// two configurations and requires a restart.
func NeedsRestart(before, after Config) error {
	if before.CallerCount() > 0 && after.CallerCount() == 0 {
		// A config file that is only half written may have no callers. That must not let
		// everybody call.
		return Problems{{"callers", "removing all callers, which opens the gateway, requires a restart"}}
	}
	var problems Problems
	for _, setting := range changes(before, after, "restart") {
		problems.Add(setting, "a change of %s requires a restart", setting)
	}
	return problems.err()
}

// Equal reports whether two configurations are equal, including the contents of the TLS files.
func (l Loaded) Equal(other Loaded) bool {
	return reflect.DeepEqual(l.Config, other.Config) && maps.Equal(l.files, other.files)
}

// Changes compares the configuration with a later one. It returns the names of the settings that
// differ and that a reload can change. Channels and callers are listed one by one.
func (l Loaded) Changes(now Loaded) []string {
	names := changes(l.Config, now.Config, "reload")
	for _, name := range slices.Sorted(maps.Keys(l.files)) {
		if l.files[name] != now.files[name] {
			names = append(names, name)
		}
	}
	return names
}

// hashFiles returns the hashes of the TLS files, which the gateway reads later. If a file cannot
// be read, its hash is zero. The gateway reports the error when it reads the file.
func (r *reading) hashFiles(cfg Config) map[string][sha256.Size]byte {
	hashes := map[string][sha256.Size]byte{}
	for setting, path := range map[string]string{
		"tls_cert": cfg.TLSCertFile, "tls_key": cfg.TLSKeyFile, "tls_client_ca": cfg.TLSClientCAFile,
	} {
		hashes[setting] = [sha256.Size]byte{}
		if path == "" {
			continue
		}
		r.watch(path)
		if content, err := readFile(path, maxFile); err == nil {
			hashes[setting] = sha256.Sum256(content)
		} else {
			r.states[path] = fileState{}
		}
	}
	return hashes
}

// changes returns the names of those settings that have the given tag and that differ.
func changes(before, after Config, tag string) (names []string) {
	was, is := reflect.ValueOf(before), reflect.ValueOf(after)
	for field, old := range was.Fields() {
		name, ok := field.Tag.Lookup(tag)
		now := is.FieldByIndex(field.Index)
		switch {
		case !ok || reflect.DeepEqual(old.Interface(), now.Interface()):
		case old.Kind() == reflect.Map:
			names = append(names, changedKeys(name, old, now)...)
		default:
			names = append(names, name)
		}
	}
	return names
}

// changedKeys returns the names of the entries that differ between two maps.
func changedKeys(setting string, old, now reflect.Value) (names []string) {
	for _, key := range append(old.MapKeys(), now.MapKeys()...) {
		was, is := old.MapIndex(key), now.MapIndex(key)
		if !was.IsValid() || !is.IsValid() || !reflect.DeepEqual(was.Interface(), is.Interface()) {
			names = append(names, SettingName(setting, key.String()))
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
