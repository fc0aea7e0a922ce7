package config

import (
	"fmt"
	"strings"
)

// Problem is what is wrong with a setting.
type Problem struct {
	// Setting is its place in the config file, as in channels.support.token (SettingName).
	Setting string
	// Says is what is wrong with it, without any secret.
	Says string
}

func (p Problem) Error() string { return p.Setting + ": " + p.Says }

// Problems is everything that is wrong with a configuration, a line each.
type Problems []Problem

func (p Problems) Error() string {
	var lines []string
	for _, problem := range p {
		lines = append(lines, problem.Error())
	}
	return strings.Join(lines, "\n")
}

// Add adds a problem of a setting.
func (p *Problems) Add(setting, format string, args ...any) {
	*p = append(*p, Problem{setting, fmt.Sprintf(format, args...)})
}

// err is nil where there are no problems.
func (p Problems) err() error {
	if len(p) == 0 {
		return nil
	}
	return p
}

// SettingName returns the place of a setting in the config file, of the keys that lead
// to it. One that is no name of anything is quoted, so that it stays on its line.
func SettingName(keys ...string) string {
	names := make([]string, len(keys))
	for i, key := range keys {
		if names[i] = key; !isName(key) {
			names[i] = fmt.Sprintf("%.66q", key)
		}
	}
	return strings.Join(names, ".")
}

// isName reports whether a text is a name of a channel, caller or setting: 1 to 64
// letters, digits, underscores and hyphens.
func isName(text string) bool {
	return len(text) >= 1 && len(text) <= 64 && !strings.ContainsFunc(text, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_' && r != '-'
	})
}
