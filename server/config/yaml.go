package config

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// byteOrderMark is what some editors begin a file with.
const byteOrderMark = "\ufeff"

// text is a value in which ${NAME} stands for an environment variable. It is
// replaced after the YAML is parsed, so that no value can change the structure.
type text string

// list is several values: a list, or a text with commas between them.
type list string

// readFile reads the config file. It adds what is wrong to the problems, and fails where
// nothing can be read of it. Nothing that it says has a value of the file in it, since
// that may be a secret.
func (r *reading) readFile() (file configFile, err error) {
	content, err := os.ReadFile(r.file)
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
	tree, err := parser.ParseBytes(content, 0)
	if syntax, ok := errors.AsType[yaml.Error](err); ok {
		at := syntax.GetToken().Position
		// What it quotes may be a secret, or a part of it, that should have been in quotes.
		says := regexp.MustCompile(`(?s)".*"`).ReplaceAllString(syntax.GetMessage(), `"…"`)
		return file, fmt.Errorf("%s:%d:%d: %s", r.file, at.Line, at.Column, says)
	}
	if err != nil {
		return file, fmt.Errorf("config file %s is no YAML", r.file) // whatever err says may be of the file
	}
	y := yamlReader{reading: r, anchors: map[string]ast.Node{}}
	for i, document := range tree.Docs {
		switch {
		case document.Body == nil || document.Body.Type() == ast.CommentType:
		case i > 0:
			return file, fmt.Errorf("%s:%d: has a second document, and can have one", r.file, line(document.Body))
		default:
			y.read(document.Body, reflect.ValueOf(&file).Elem())
		}
	}
	return file, nil
}

// yamlReader puts the values of YAML where they belong, and notes the line of each. It
// goes on after a mistake, so that all are found at once.
type yamlReader struct {
	*reading
	anchors map[string]ast.Node
}

func line(node ast.Node) int { return node.GetToken().Position.Line }

// read puts a node into a struct, a map of them, a list or a text, which is the setting
// that keys lead to.
func (y yamlReader) read(node ast.Node, into reflect.Value, keys ...string) {
	setting := SettingName(keys...)
	node, err := y.resolve(node)
	if err != nil {
		y.problems.Add(setting, "%v", err)
		return
	}
	pairs, isMap := pairsOf(node)
	sequence, isList := node.(*ast.SequenceNode)
	scalar, isText := node.(ast.ScalarNode)
	switch {
	case node.Type() == ast.NullType:
		into.SetZero() // as if it were not there
	case into.Kind() == reflect.Struct || into.Kind() == reflect.Map:
		if !isMap {
			y.problems.Add(setting, "wants settings with their names, as in NAME: VALUE")
			return
		}
		y.readPairs(pairs, into, keys)
	case into.Kind() == reflect.Slice:
		if !isList {
			y.problems.Add(setting, "wants a list, as in [VALUE, VALUE]")
			return
		}
		into.Set(reflect.MakeSlice(into.Type(), len(sequence.Values), len(sequence.Values)))
		for i, value := range sequence.Values {
			// The clone is for append, which would write over the keys of whoever called.
			element := append(append([]string{}, keys...), strconv.Itoa(i+1))
			y.lines[SettingName(element...)] = line(value)
			y.read(value, into.Index(i), element...)
		}
	case isText:
		into.SetString(y.expand(setting, textOf(scalar)))
	case isList && into.Type() == reflect.TypeFor[list]():
		var values []string
		for _, value := range sequence.Values {
			element, err := y.resolve(value)
			scalar, ok := element.(ast.ScalarNode)
			if err != nil || !ok {
				y.problems.Add(setting, "wants a list of single values")
				return
			}
			values = append(values, y.expand(setting, textOf(scalar)))
		}
		into.SetString(strings.Join(values, ","))
	case isList:
		y.problems.Add(setting, "wants one value, and has a list")
	default:
		y.problems.Add(setting, "wants one value, and has settings below it")
	}
}

// readPairs puts keys and values into a struct, whose fields have the keys as tags, or
// into a map.
func (y yamlReader) readPairs(pairs []*ast.MappingValueNode, into reflect.Value, keys []string) {
	// What << brings in comes first, since the map's own values beat it.
	for _, pair := range pairs {
		if _, merge := pair.Key.(*ast.MergeKeyNode); !merge {
			continue
		}
		node, err := y.resolve(pair.Value)
		merged, ok := pairsOf(node)
		if err != nil || !ok {
			y.problems.Add(SettingName(keys...), "<< wants one alias of a map")
			continue
		}
		y.readPairs(merged, into, keys)
	}
	for _, pair := range pairs {
		if _, merge := pair.Key.(*ast.MergeKeyNode); merge {
			continue
		}
		key := ""
		if scalar, ok := pair.Key.(ast.ScalarNode); ok {
			key = textOf(scalar)
		}
		below := append(append([]string{}, keys...), key)
		setting := SettingName(below...)
		y.lines[setting] = line(pair.Key)
		if into.Kind() == reflect.Map {
			if into.IsNil() {
				into.Set(reflect.MakeMap(into.Type()))
			}
			value := reflect.New(into.Type().Elem()).Elem()
			y.read(pair.Value, value, below...)
			into.SetMapIndex(reflect.ValueOf(key), value)
			continue
		}
		field, ok := fieldOf(into, key)
		switch {
		case ok:
			y.read(pair.Value, field, below...)
		case pair.Key.GetToken().NextType() == token.MappingValueType:
			y.problems.Add(setting, "there is no such setting")
		default: // without a colon it may be a part of a secret, after a comma between braces
			setting = strings.TrimPrefix(SettingName(keys...)+"."+unknown, ".")
			y.lines[setting] = line(pair.Key)
			y.problems.Add(setting, "there is a setting here that does not exist")
		}
	}
}

// fieldOf returns the field of a struct with a key as its tag.
func fieldOf(into reflect.Value, key string) (reflect.Value, bool) {
	for field, value := range into.Fields() {
		if field.Tag.Get("yaml") == key {
			return value, true
		}
	}
	return reflect.Value{}, false
}

// resolve returns what a node stands for.
func (y yamlReader) resolve(node ast.Node) (ast.Node, error) {
	switch n := node.(type) {
	case *ast.AnchorNode:
		value, err := y.resolve(n.Value)
		if err == nil {
			y.anchors[n.Name.String()] = value
		}
		return value, err
	case *ast.AliasNode:
		if value, ok := y.anchors[n.Value.String()]; ok {
			return value, nil
		}
		return node, errors.New("a value that begins with * is an alias, of which there is no anchor: put it in quotes")
	case *ast.TagNode:
		return node, errors.New("a value that begins with ! is a YAML tag, which has no use here: put it in quotes")
	}
	return node, nil
}

// pairsOf returns the keys and values of a map.
func pairsOf(node ast.Node) (pairs []*ast.MappingValueNode, ok bool) {
	switch n := node.(type) {
	case *ast.MappingNode:
		return n.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}, true
	}
	return nil, false
}

// textOf returns a value as it is written, but for the quotes.
func textOf(node ast.ScalarNode) string {
	switch n := node.(type) {
	case *ast.StringNode:
		return n.Value
	case *ast.LiteralNode:
		return n.Value.Value
	}
	return node.GetToken().Value
}

// expand replaces the variables. One that is not set is a problem, since an empty secret
// or address would mean something else.
func (y yamlReader) expand(setting, raw string) string {
	replaced := regexp.MustCompile(`\$\{([^}]*)(\}?)`).ReplaceAllStringFunc(raw, func(ref string) string {
		name, closed := strings.CutSuffix(ref[2:], "}")
		value, set := os.LookupEnv(name)
		switch {
		case !closed:
			y.problems.Add(setting, "has a ${ without its }")
		case !regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`).MatchString(name):
			y.problems.Add(setting, "has a ${…} that is not the name of an environment variable")
		case !set:
			y.problems.Add(setting, "environment variable %s is not set", name)
		}
		return value
	})
	return replaced
}
