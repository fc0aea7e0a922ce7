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

// byteOrderMark is what some editors begin a file with.
const byteOrderMark = "\ufeff"

const (
	// maxNesting is how deep lists and maps may be nested. The settings need four levels.
	maxNesting = 32
	// maxEntries bounds the commas and closing brackets. The parser keeps what is between an
	// opening bracket and its closing one, and takes 0.6 kB for each entry. A file in JSON with
	// as many callers as maxFile allows has two thirds of it.
	maxEntries = 100_000
	// maxWrittenOut bounds what a file is with its aliases and variables written out: the
	// bytes of its values, and one more for each. Without any, a file of maxFile is far below.
	maxWrittenOut = 8 << 20
)

// readConfigFile reads the config file. It adds what is wrong to the problems, and fails
// if nothing can be read of it. No error and no problem has a value of the file in it,
// since that may be a secret.
func (r *reading) readConfigFile() (file configFile, err error) {
	content, err := r.contentOf(r.file, maxFile)
	if err != nil {
		return file, fmt.Errorf("config file: %w", err)
	}
	content = bytes.TrimPrefix(content, []byte(byteOrderMark))
	if !utf8.Valid(content) {
		return file, fmt.Errorf("config file %s is not in UTF-8", r.file)
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
			return file, fmt.Errorf("%s:%d: has a second document, and can have one", r.file, body.Line)
		}
		if err := r.checkShape(body, nil); err != nil {
			return file, err
		}
		r.root = body
		y := yamlReader{reading: r, left: maxWrittenOut, fields: map[reflect.Type]map[string]int{}}
		y.read(body, reflect.ValueOf(&file).Elem(), "")
		if y.left < 0 {
			return file, fmt.Errorf("config file %s is larger than %s with its aliases and variables written out", r.file, humanize.IBytes(maxWrittenOut))
		}
	}
}

// nestingLimit is a plugin of the YAML library that stops the parser as soon as a file is
// nested too deep.
type nestingLimit struct{}

var errNesting = fmt.Errorf("lists and maps are nested more than %d deep", maxNesting)

// CheckDepth is called with each level of nesting. The library counts brackets and
// indentation separately, so that checkShape has to count again.
func (nestingLimit) CheckDepth(depth int, _ *yaml.DepthContext) error {
	if depth > maxNesting {
		return errNesting
	}
	return nil
}

// CheckAlias allows all aliases: yamlReader bounds what they are written out.
func (nestingLimit) CheckAlias(int, int) error { return nil }

// unknownAnchor is what an alias stands for that has no anchor. It lets the parser go on,
// so that yamlReader finds this mistake along with all others.
const unknownAnchor = "!unknown-anchor"

// anchors is a plugin of the YAML library that resolves aliases: the anchors of a document,
// by name.
type anchors map[string]*yaml.Node

// NewAliasDataContext returns the anchors of a file, of which there are none yet.
func (anchors) NewAliasDataContext(yaml.AliasDataServices) (yaml.AliasDataContext, error) {
	return anchors{}, nil
}

// BeginDocument forgets the anchors of the document before.
func (a anchors) BeginDocument() error { clear(a); return nil }

// DefineAnchor is called for a node before its children, which may be aliases of it.
func (a anchors) DefineAnchor(name string, node *yaml.Node) error { a[name] = node; return nil }

// ResolveAlias returns the node that an alias stands for.
func (a anchors) ResolveAlias(name string) (node *yaml.Node, found bool, err error) {
	if node, found = a[name]; found {
		return node, true, nil
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: unknownAnchor}, true, nil
}

// EndDocument does nothing.
func (anchors) EndDocument() error { return nil }

// syntaxError returns what is wrong with the YAML and where. The messages of the reader,
// scanner and parser quote nothing of the file, those of the other stages do.
func (r *reading) syntaxError(err error) error {
	syntax, ok := errors.AsType[*yaml.LoadError](err)
	if !ok {
		return fmt.Errorf("config file %s is no YAML", r.file) // whatever err says may be of the file
	}
	says := uselessTag // of a type that the value does not have
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

// checkShape fails if a node is nested too deep, or has an alias in it that stands for
// the node itself. Above are the nodes that it is in.
func (r *reading) checkShape(node *yaml.Node, above []*yaml.Node) error {
	if node.Kind == yaml.AliasNode && slices.Contains(above, node.Alias) {
		return fmt.Errorf("%s:%d: an alias stands inside of what it stands for", r.file, node.Line)
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
