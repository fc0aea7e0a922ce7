package config

import (
	"crypto/sha256"
	"maps"
	"reflect"
	"slices"
)

// NeedsRestart returns a problem for each setting that differs between two configurations
// and may not change while the gateway runs.
func NeedsRestart(before, after Config) error {
	if before.CallerCount() > 0 && after.CallerCount() == 0 {
		// Half a file must not open the gateway.
		return Problems{{"callers", "to take away all callers, and so ask nobody for a key, needs a restart"}}
	}
	var problems Problems
	for _, setting := range changes(before, after, "restart") {
		problems.Add(setting, "a change of %s needs a restart", setting)
	}
	return problems.err()
}

// Equal reports whether nothing differs from another configuration, what is in the files
// of TLS included.
func (l Loaded) Equal(other Loaded) bool {
	return reflect.DeepEqual(l.Config, other.Config) && maps.Equal(l.files, other.files)
}

// Changes returns the names of the settings that differ from a later configuration and may
// change while the gateway runs, channels and callers one by one.
func (l Loaded) Changes(now Loaded) []string {
	names := changes(l.Config, now.Config, "reload")
	for _, name := range slices.Sorted(maps.Keys(l.files)) {
		if l.files[name] != now.files[name] {
			names = append(names, name)
		}
	}
	return names
}

// hashFiles returns the hashes of the files that the gateway reads when it needs them. A
// file that cannot be read has no hash: the gateway says why when it reads it.
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

// changes returns the names of the settings with a tag that differ.
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

// changedKeys returns the names of what differs between two maps of a setting.
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
