package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"unicode/utf8"

	"github.com/dustin/go-humanize"
	"go.yaml.in/yaml/v4"
)

// byteOrderMark is written by some editors at the beginning of a file.
const byteOrderMark = "\ufeff"

const (
	// maxNesting bounds the nesting of lists and maps. The settings need four levels.
	maxNesting = 32
	// maxEntries bounds the commas and closing brackets. The parser keeps all entries between two
	// brackets in memory, 0.6 kB for each. The largest JSON file that maxFile allows, filled with
	// callers, has two thirds of maxEntries.
	maxEntries = 100_000
	// maxWrittenOut limits the size of a file after its aliases and variables are expanded. The
	// size is the number of bytes of all values, plus one per value. A file of maxFile bytes
	// without aliases and variables is far below this limit.
	maxWrittenOut = 8 << 20
)

// readConfigFile reads the config file and adds its problems. It fails if the file cannot be read
// or parsed. Values of the file never appear in errors or problems, because a value may be a
// secret.
func (r *reading) readConfigFile() (file configFile, err error) {
	content, err := r.contentOf(r.file, maxFile)
	if err != nil {
		return file, fmt.Errorf("config file: %w", err)
	}
	content = bytes.TrimPrefix(content, []byte(byteOrderMark))
	if !utf8.Valid(content) {
		return file, fmt.Errorf("config file %s is not valid UTF-8", r.file)
	}
	if len(bytes.TrimSpace(content)) == 0 {
		return file, fmt.Errorf("config file %s is empty", r.file)
	}
	if bytes.Count(content, []byte(","))+bytes.Count(content, []byte("]"))+bytes.Count(content, []byte("}")) > maxEntries {
		return file, fmt.Errorf("config file %s has more than %s commas and closing brackets", r.file, humanize.Comma(maxEntries))
	}
	loader, err := yaml.NewLoader(bytes.NewReader(content), yaml.WithPlugin(nestingLimit{}, anchors{}))
	if err != nil {
		return file, fmt.Errorf("config file: %w", err)
	}
	for first := true; ; first = false {
		var document yaml.Node
		err := loader.Load(&document)
		if errors.Is(err, io.EOF) {
			return file, nil
		}
		if err != nil {
			return file, r.syntaxError(err)
		}
		body := document.Content[0]
		if body.ShortTag() == "!!null" {
			continue
		}
		if !first {
			return file, fmt.Errorf("%s:%d: a second YAML document is not supported", r.file, body.Line)
		}
		if err := r.checkShape(body, nil); err != nil {
			return file, err
		}
		r.root = body
		y := yamlReader{reading: r, left: maxWrittenOut, fields: map[reflect.Type]map[string]int{}}
		y.read(body, reflect.ValueOf(&file).Elem(), "")
		if y.left < 0 {
			return file, fmt.Errorf("config file %s is larger than %s after its aliases and variables are expanded", r.file, humanize.IBytes(maxWrittenOut))
		}
	}
}

// nestingLimit is a plugin of the YAML library that stops the parser when a file is nested too
// deeply.
type nestingLimit struct{}

var errNesting = fmt.Errorf("lists and maps are nested more than %d levels deep", maxNesting)

// CheckDepth is called at each level of nesting. The library counts nesting by brackets and
// nesting by indentation separately. So checkShape counts the total again.
func (nestingLimit) CheckDepth(depth int, _ *yaml.DepthContext) error {
	if depth > maxNesting {
		return errNesting
	}
	return nil
}

// CheckAlias allows all aliases. yamlReader bounds their expanded size.
func (nestingLimit) CheckAlias(int, int) error { return nil }

// unknownAnchor is the tag of a node that stands for an alias without an anchor. So the parser
// does not stop there, and yamlReader can report the alias together with all other problems.
const unknownAnchor = "!unknown-anchor"

// anchors is a plugin of the YAML library that resolves aliases. It has the anchors of a
// document by name.
type anchors map[string]*yaml.Node

// NewAliasDataContext returns the empty anchors of a file.
func (anchors) NewAliasDataContext(yaml.AliasDataServices) (yaml.AliasDataContext, error) {
	return anchors{}, nil
}

// BeginDocument removes the anchors of the previous document.
func (a anchors) BeginDocument() error { clear(a); return nil }

// DefineAnchor is called for a node before it is called for the node's children. A child may be
// an alias of the node.
func (a anchors) DefineAnchor(name string, node *yaml.Node) error { a[name] = node; return nil }

// ResolveAlias returns the node of an alias.
func (a anchors) ResolveAlias(name string) (node *yaml.Node, found bool, err error) {
	if node, found = a[name]; found {
		return node, true, nil
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: unknownAnchor}, true, nil
}

// EndDocument does nothing.
func (anchors) EndDocument() error { return nil }

// syntaxError returns the YAML error with its place. The messages of the YAML reader, scanner and
// parser contain no text of the file, and are kept. Messages of the other stages contain such
// text, and are replaced.
func (r *reading) syntaxError(err error) error {
	syntax, ok := errors.AsType[*yaml.LoadError](err)
	if !ok {
		return fmt.Errorf("config file %s is not valid YAML", r.file) // the text of err may quote the file
	}
	says := uselessTag // a tag of a type that does not fit the value
	if slices.Contains([]yaml.Stage{yaml.ReaderStage, yaml.ScannerStage, yaml.ParserStage}, syntax.Stage) {
		says = syntax.Message
	}
	at := syntax.Mark
	if at.Line == 0 {
		at = syntax.ContextMark
	}
	if at.Line == 0 {
		return fmt.Errorf("config file %s: %s", r.file, says)
	}
	return fmt.Errorf("%s:%d:%d: %s", r.file, at.Line, at.Column, says)
}

// checkShape fails if a node is nested too deeply, or contains an alias of itself. above has all
// nodes that contain the given node, from the outside to the inside.
func (r *reading) checkShape(node *yaml.Node, above []*yaml.Node) error {
	if node.Kind == yaml.AliasNode && slices.Contains(above, node.Alias) {
		return fmt.Errorf("%s:%d: an alias refers to a value that contains it", r.file, node.Line)
	}
	if len(node.Content) > 0 && len(above) >= maxNesting {
		return fmt.Errorf("%s:%d: %w", r.file, node.Line, errNesting)
	}
	above = append(above, node)
	for _, child := range node.Content {
		if err := r.checkShape(child, above); err != nil {
			return err
		}
	}
	return nil
}
