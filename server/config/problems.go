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

// Problems is everything that is wrong with a configuration, a line each. Of more than
// maxProblems the rest is left out.
type Problems []Problem

// maxProblems is more than somebody reads, and far less than a large file can have.
const maxProblems = 100

func (p Problems) Error() string {
	return strings.Join(p.lines(Problem.Error), "\n")
}

// lines returns the problems in a form, and whether there are more than are listed.
func (p Problems) lines(form func(Problem) string) (lines []string) {
	for _, problem := range p[:min(len(p), maxProblems)] {
		lines = append(lines, form(problem))
	}
	if p.full() {
		lines = append(lines, "there are more, which are not listed")
	}
	return lines
}

// full reports whether there are more problems than are listed.
func (p Problems) full() bool { return len(p) > maxProblems }

// Add adds a problem of a setting, unless there are so many that it would not be listed.
func (p *Problems) Add(setting, format string, args ...any) {
	if p.full() {
		return
	}
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
	return len(text) >= 1 && len(text) <= 64 && consistsOf(text, isWordCharacter)
}

// consistsOf reports whether all characters of a text are of a kind.
func consistsOf(text string, kind func(rune) bool) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return !kind(r) })
}

// isWordCharacter reports whether a character is a letter, digit, underscore or hyphen.
func isWordCharacter(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-'
}
