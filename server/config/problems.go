package config

import (
	"fmt"
	"strings"
)

// Problem is one problem of a setting.
type Problem struct {
	// Setting is the name of the setting, in the form of SettingName, such as
	// channels.support.token.
	Setting string
	// Says describes the problem, without secrets.
	Says string
}

func (p Problem) Error() string { return p.Setting + ": " + p.Says }

// Problems are all problems of a configuration. Only the first maxProblems are listed.
type Problems []Problem

// maxProblems is the maximum number of listed problems. A large file can have far more than a
// person reads.
const maxProblems = 100

func (p Problems) Error() string {
	return strings.Join(p.lines(Problem.Error), "\n")
}

// lines returns one line of text per listed problem. If there are more problems, a last line says
// so.
func (p Problems) lines(form func(Problem) string) (lines []string) {
	for _, problem := range p[:min(len(p), maxProblems)] {
		lines = append(lines, form(problem))
	}
	if p.full() {
		lines = append(lines, "there are more problems, which are not listed")
	}
	return lines
}

// full reports whether there are more problems than are listed.
func (p Problems) full() bool { return len(p) > maxProblems }

// Add adds a problem of a setting. It does nothing if there are already more than maxProblems.
func (p *Problems) Add(setting, format string, args ...any) {
	if p.full() {
		return
	}
	*p = append(*p, Problem{setting, fmt.Sprintf(format, args...)})
}

// err returns the problems, or nil if there are none.
func (p Problems) err() error {
	if len(p) == 0 {
		return nil
	}
	return p
}

// SettingName joins the YAML keys that lead to a setting into the setting's name, such as
// channels.support.token. An invalid name is quoted, so that it cannot contain a line break.
func SettingName(keys ...string) string {
	names := make([]string, len(keys))
	for i, key := range keys {
		if names[i] = key; !isName(key) {
			names[i] = fmt.Sprintf("%.66q", key)
		}
	}
	return strings.Join(names, ".")
}

// isName reports whether text is a valid name of a channel, caller or setting: 1 to 64 letters,
// digits, underscores or hyphens.
func isName(text string) bool {
	return len(text) >= 1 && len(text) <= 64 && consistsOf(text, isWordCharacter)
}

// consistsOf reports whether kind is true for all characters of text.
func consistsOf(text string, kind func(rune) bool) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return !kind(r) })
}

// isWordCharacter reports whether a character is a letter, digit, underscore or hyphen.
func isWordCharacter(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-'
}
