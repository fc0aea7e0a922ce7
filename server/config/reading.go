package config

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// reading holds what is known while a configuration is read. This is mainly the problems so far
// and the place of each setting. Config.Check reports problems with the names of settings in the
// config file. reading adds the place of each of these settings.
type reading struct {
	// file is the path of the config file, and root its content.
	file string
	root *yaml.Node
	// running is Source.Running.
	running bool
	// lines has the line numbers of settings that are unknown or defined twice, because these
	// cannot be looked up in root.
	lines map[string]int
	// given has, for each setting from a flag or an environment variable, the name of that flag
	// or variable. files has, for each setting that is read from a file, the path of that file.
	given, files map[string]string
	// states are the states of the files before they were read, by path.
	states map[string]fileState

	problems, warnings Problems
}

func newReading(source Source) *reading {
	return &reading{
		file: source.File, running: source.Running, lines: map[string]int{},
		given: map[string]string{}, files: map[string]string{}, states: map[string]fileState{},
	}
}

// unknown is shown instead of the name of an unknown setting, if the name may contain a part of a
// secret.
const unknown = "?"

// pick returns the value of a setting. If its flag or environment variable is set (kong has
// merged the two), pick returns that value. Otherwise it returns the value in the config file.
func (r *reading) pick(setting, given string, inFile text) string {
	if given == "" {
		return string(inFile)
	}
	r.given[setting] = "--" + strings.ReplaceAll(setting, "_", "-")
	if variable := "ONGAIR_GATEWAY_" + strings.ToUpper(setting); os.Getenv(variable) == given {
		r.given[setting] = variable
	}
	return given
}

// fromEnvironment returns the value of a setting that has a variable and no flag.
func (r *reading) fromEnvironment(setting, variable string) string {
	value := os.Getenv(variable)
	if value != "" {
		r.given[setting] = variable
	}
	return value
}

// secret returns a secret that is set by value or by file. White space around the content of a
// file is removed.
func (r *reading) secret(setting string, value text, file string) string {
	if file == "" {
		return string(value)
	}
	inFile := setting + "_file"
	r.files[inFile] = file
	if value != "" {
		r.problems.Add(inFile, "%s is set twice, by value and by file", setting)
		return ""
	}
	content, err := r.contentOf(file, maxSecret)
	if err != nil {
		r.problems.Add(inFile, "cannot be read: %v", cause(err))
		return ""
	}
	r.warnOfReaders(inFile, file)
	secret := strings.TrimSpace(strings.TrimPrefix(string(content), byteOrderMark))
	if secret == "" {
		// The file may be half written, or its mount may have failed. Treating it as "no
		// secret" could open the gateway.
		r.problems.Add(inFile, "is empty")
	}
	return secret
}

// warnOfReaders warns if all users of the machine can read the file of a secret.
func (r *reading) warnOfReaders(setting, file string) {
	if info, err := os.Stat(file); err == nil && runtime.GOOS != "windows" && info.Mode().Perm()&0o004 != 0 {
		r.files[setting] = file
		r.warnings.Add(setting, "readable by all users of this machine: remove that permission, for example with chmod o=")
	}
}

// cause returns the error of a file without its path.
func cause(err error) error {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return path.Err
	}
	return err
}

// check adds the problems that Config.Check finds. It leaves out a problem if the same setting,
// its parent or its child already has one.
func (r *reading) check(cfg Config) {
	follows := func(setting string) bool {
		return slices.ContainsFunc(r.problems, func(p Problem) bool {
			return p.Setting == setting+"_file" || p.Setting == setting ||
				strings.HasPrefix(setting, p.Setting+".") || strings.HasPrefix(p.Setting, setting+".")
		})
	}
	if len(r.problems) > 0 {
		cfg.InsecureNoAuthentication = true // the callers are not known
	}
	found, ok := errors.AsType[Problems](cfg.Check())
	if !ok {
		return
	}
	found = slices.DeleteFunc(found, func(p Problem) bool { return follows(p.Setting) })
	r.problems = append(r.problems, found...)
}

// err returns all problems sorted by line, or nil.
func (r *reading) err() error {
	if len(r.problems) == 0 {
		return nil
	}
	return r.locate(r.problems)
}

// locate adds the place of each problem to an error of type Problems. Other errors are returned
// unchanged.
func (r *reading) locate(err error) error {
	problems, ok := errors.AsType[Problems](err)
	if !ok {
		return err
	}
	at := map[string]int{}
	for _, problem := range problems {
		at[problem.Setting] = r.line(problem.Setting)
	}
	slices.SortStableFunc(problems, func(a, b Problem) int { return cmp.Compare(at[a.Setting], at[b.Setting]) })
	return Error(problems.lines(r.located))
}

// located returns a problem with its place.
func (r *reading) located(problem Problem) string {
	return r.place(problem.Setting) + ": " + problem.Says
}

// place returns the place of a setting: a line of the file, a flag or an environment variable. If
// the setting is not set anywhere, the place is that of its parent.
func (r *reading) place(setting string) string {
	if _, ok := r.files[setting+"_file"]; ok {
		setting += "_file"
	}
	place, given := r.given[setting]
	if !given {
		place = strings.TrimSuffix(strings.TrimSuffix(setting, unknown), ".")
		if line := r.line(setting); line > 0 {
			place = strings.TrimSuffix(fmt.Sprintf("%s:%d: %s", r.file, line, place), ": ")
		}
	}
	if file, ok := r.files[setting]; ok {
		place += " (" + file + ")"
	}
	return cmp.Or(place, r.file)
}

// line returns the line of a setting in the config file. If the file does not have the setting,
// line returns the line of its closest parent, or 0.
func (r *reading) line(setting string) int {
	for part := setting; part != ""; part = part[:max(strings.LastIndexByte(part, '.'), 0)] {
		if line := r.lines[part]; line > 0 {
			return line
		}
	}
	return lineOf(r.root, setting)
}

// Error lists all problems of a configuration, one per line.
type Error []string

func (e Error) Error() string { return strings.Join(e, "\n") }
