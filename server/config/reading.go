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

// reading is what is found out while the configuration is read: what is wrong with it,
// and where each setting is from, so that a problem can say where it is. Those of
// Config.Check have the names that settings have in the file, wherever they are
// from, and get their places here, too.
type reading struct {
	// file is the path of the config file, and root what is in it.
	file string
	root *yaml.Node
	// running is that of the Source.
	running bool
	// lines are those of settings that root does not have, or has twice.
	lines map[string]int
	// given are the flags and environment variables that settings are from, and files the
	// paths of the files that they are in.
	given, files map[string]string
	// states are those of the files, by path, from before they were read.
	states map[string]fileState

	problems, warnings Problems
}

func newReading(source Source) *reading {
	return &reading{
		file: source.File, running: source.Running, lines: map[string]int{},
		given: map[string]string{}, files: map[string]string{}, states: map[string]fileState{},
	}
}

// unknown stands for the name of a setting that does not exist and is not shown.
const unknown = "?"

// pick returns the value of a setting, by its name in the file: that of its flag or
// environment variable, which kong has merged, or that of the file.
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

// secret returns a secret that is given by value or by file, of which what
// surrounds it in white space is left out.
func (r *reading) secret(setting string, value text, file string) string {
	if file == "" {
		return string(value)
	}
	inFile := setting + "_file"
	r.files[inFile] = file
	if value != "" {
		r.problems.Add(inFile, "%s is given twice, by value and by file", setting)
		return ""
	}
	content, err := r.contentOf(file, maxSecret)
	if err != nil {
		r.problems.Add(inFile, "it cannot be read: %v", cause(err))
		return ""
	}
	r.warnOfReaders(inFile, file)
	secret := strings.TrimSpace(strings.TrimPrefix(string(content), byteOrderMark))
	if secret == "" {
		// A file that is being written, or a mount that failed: to take it for "none" could
		// open what it is to close.
		r.problems.Add(inFile, "it is empty")
	}
	return secret
}

// warnOfReaders warns where everybody on the machine can read the secret of a setting.
func (r *reading) warnOfReaders(setting, file string) {
	if info, err := os.Stat(file); err == nil && runtime.GOOS != "windows" && info.Mode().Perm()&0o004 != 0 {
		r.files[setting] = file
		r.warnings.Add(setting, "everybody on this machine can read it: take that right away, as with chmod o=")
	}
}

// cause is an error of a file without its path.
func cause(err error) error {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return path.Err
	}
	return err
}

// check adds what is wrong with the configuration to what is wrong with how it is
// written, but for what follows from that.
func (r *reading) check(cfg Config) {
	follows := func(setting string) bool {
		return slices.ContainsFunc(r.problems, func(p Problem) bool {
			return p.Setting == setting+"_file" || p.Setting == setting ||
				strings.HasPrefix(setting, p.Setting+".") || strings.HasPrefix(p.Setting, setting+".")
		})
	}
	if len(r.problems) > 0 {
		cfg.InsecureNoAuthentication = true // whether there are callers is not known
	}
	found, ok := errors.AsType[Problems](cfg.Check())
	if !ok {
		return
	}
	found = slices.DeleteFunc(found, func(p Problem) bool { return follows(p.Setting) })
	r.problems = append(r.problems, found...)
}

// err is all problems, by their lines, or nil.
func (r *reading) err() error {
	if len(r.problems) == 0 {
		return nil
	}
	return r.locate(r.problems)
}

// locate has an error of problems say where they are. Others stay as they are.
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

// located says where a problem is, and what it is.
func (r *reading) located(problem Problem) string {
	return r.place(problem.Setting) + ": " + problem.Says
}

// place says where a setting is: in which line of the file, or in which flag or
// environment variable. One that is nowhere is where what it belongs to is.
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

// line returns the line of a setting in the file, or of what it belongs to; 0 for none.
func (r *reading) line(setting string) int {
	for part := setting; part != ""; part = part[:max(strings.LastIndexByte(part, '.'), 0)] {
		if line := r.lines[part]; line > 0 {
			return line
		}
	}
	return lineOf(r.root, setting)
}

// Error is everything that is wrong with the configuration, a line each.
type Error []string

func (e Error) Error() string { return strings.Join(e, "\n") }
