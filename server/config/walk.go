package config

import (
	"errors"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// text is a value in which ${NAME} is replaced by an environment variable. It is replaced after
// the YAML is parsed, so that a value cannot change the structure.
type text string

// list holds several values. In the file it is a YAML list, or one text with commas.
type list string

// uselessTag is the message for a YAML tag.
const uselessTag = "a value that begins with ! is a YAML tag, which is not supported: quote it"

// yamlReader decodes YAML into the settings. It continues after a problem, so that all problems
// are found at once.
type yamlReader struct {
	*reading
	// left is how many bytes of maxWrittenOut are not used yet.
	left int
	// fields has, for each struct type, the index of the field for each YAML key.
	fields map[reflect.Type]map[string]int
}

// done reports whether decoding must stop because a limit is exceeded.
func (y *yamlReader) done() bool { return y.left < 0 || y.problems.full() }

// under returns the name of a setting below another one.
func under(setting, key string) string {
	if setting == "" {
		return SettingName(key)
	}
	return setting + "." + SettingName(key)
}

// read decodes a node into a setting: a struct, a map of structs, a list or a text.
func (y *yamlReader) read(node *yaml.Node, into reflect.Value, setting string) {
	node, err := y.resolve(node)
	if y.done() {
		return
	}
	if err != nil {
		y.problems.Add(setting, "%v", err)
		return
	}
	isMap, isList, isText := node.Kind == yaml.MappingNode, node.Kind == yaml.SequenceNode, node.Kind == yaml.ScalarNode
	switch {
	case node.ShortTag() == "!!null":
		into.SetZero() // like a missing key
	case into.Kind() == reflect.Struct || into.Kind() == reflect.Map:
		if !isMap {
			y.problems.Add(setting, "must be a map, as in NAME: VALUE")
			return
		}
		y.readPairs(node, into, setting)
	case into.Kind() == reflect.Slice:
		if !isList {
			y.problems.Add(setting, "must be a list, as in [VALUE, VALUE]")
			return
		}
		into.Set(reflect.MakeSlice(into.Type(), len(node.Content), len(node.Content)))
		for i, value := range node.Content {
			y.read(value, into.Index(i), setting+"."+strconv.Itoa(i+1))
		}
	case isText:
		into.SetString(y.expand(setting, node.Value))
	case isList && into.Type() == reflect.TypeFor[list]():
		var values []string
		for _, value := range node.Content {
			element, err := y.resolve(value)
			if y.done() {
				return
			}
			if err != nil || element.Kind != yaml.ScalarNode {
				y.problems.Add(setting, "must be a list of single values")
				return
			}
			values = append(values, y.expand(setting, element.Value))
		}
		into.SetString(strings.Join(values, ","))
	case isList:
		y.problems.Add(setting, "must be a single value, not a list")
	default:
		y.problems.Add(setting, "must be a single value, not a map")
	}
}

// pairs returns keys and values of a map. If merges is true, it returns only those whose key is
// <<. Otherwise it returns only the others.
func pairs(node *yaml.Node, merges bool) func(func(key, value *yaml.Node) bool) {
	return func(yield func(key, value *yaml.Node) bool) {
		for pair := range slices.Chunk(node.Content, 2) {
			if (pair[0].ShortTag() == "!!merge") == merges && !yield(pair[0], pair[1]) {
				return
			}
		}
	}
}

// readPairs decodes a YAML map into a Go map, or into a struct. The tags of the struct's fields
// are the YAML keys.
func (y *yamlReader) readPairs(node *yaml.Node, into reflect.Value, setting string) {
	// The values of << come first, because the map's own values override them.
	for _, value := range pairs(node, true) {
		merged, err := y.resolve(value)
		if err != nil || merged.Kind != yaml.MappingNode {
			y.problems.Add(setting, "<< requires one alias of a map")
			continue
		}
		if !y.done() {
			y.readPairs(merged, into, setting)
		}
	}
	seen := make(map[string]int, len(node.Content)/2) // lines of keys
	for key, value := range pairs(node, false) {
		if y.done() {
			return
		}
		name := "" // stays empty if the key is not a scalar
		if key.Kind == yaml.ScalarNode {
			name = key.Value
		}
		below := under(setting, name)
		target, ok := into, into.Kind() == reflect.Map
		if !ok {
			target, ok = y.field(into, name)
		}
		switch {
		case !ok && value.Kind == yaml.ScalarNode && value.Value == "":
			// The key has no value. In a map in braces, a secret with a comma is split, so this
			// key may be the second part of a secret. Do not show it.
			below = strings.TrimPrefix(setting+"."+unknown, ".")
			y.lines[below] = key.Line
			y.problems.Add(below, "unknown setting")
		case !ok:
			y.lines[below] = key.Line
			y.problems.Add(below, "unknown setting")
		case seen[name] > 0:
			y.lines[below] = key.Line
			y.problems.Add(below, "is already defined in line %d", seen[name])
		case into.Kind() == reflect.Map:
			if into.IsNil() {
				into.Set(reflect.MakeMap(into.Type()))
			}
			element := reflect.New(into.Type().Elem()).Elem()
			y.read(value, element, below)
			into.SetMapIndex(reflect.ValueOf(name), element)
		default:
			y.read(value, target, below)
		}
		seen[name] = key.Line
	}
}

// field returns the field whose tag is key.
func (y *yamlReader) field(of reflect.Value, key string) (reflect.Value, bool) {
	fields := y.fields[of.Type()]
	if fields == nil {
		fields = map[string]int{}
		for i := range of.NumField() {
			fields[of.Type().Field(i).Tag.Get("yaml")] = i
		}
		y.fields[of.Type()] = fields
	}
	i, ok := fields[key]
	if !ok {
		return reflect.Value{}, false
	}
	return of.Field(i), true
}

// resolve returns the node itself or, for an alias, the node that it refers to. It subtracts the
// size of that node's value from left.
func (y *yamlReader) resolve(node *yaml.Node) (*yaml.Node, error) {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	y.left -= 1 + len(node.Value)
	switch {
	case node.Tag == unknownAnchor:
		return node, errors.New("a value that begins with * is an alias without an anchor: quote it")
	case node.Style&yaml.TaggedStyle != 0 || node.Tag == "!":
		return node, errors.New(uselessTag)
	}
	return node, nil
}

// expand replaces the variables. If a variable is not set, expand adds a problem. An empty value
// would be wrong, because an empty secret or address has a meaning of its own.
func (y *yamlReader) expand(setting, raw string) string {
	if !strings.Contains(raw, "${") {
		return raw
	}
	var expanded strings.Builder
	for {
		before, ref, found := strings.Cut(raw, "${")
		expanded.WriteString(before)
		if !found || y.done() {
			return expanded.String()
		}
		name, after, closed := strings.Cut(ref, "}")
		value, set := os.LookupEnv(name)
		switch {
		case !closed:
			y.problems.Add(setting, "has a ${ without a }")
		case !isVariable(name):
			y.problems.Add(setting, "has a ${…} without a valid variable name")
		case !set:
			y.problems.Add(setting, "environment variable %s is not set", name)
		}
		y.left -= len(value)
		expanded.WriteString(value)
		raw = after
	}
}

// isVariable reports whether text is a valid name of an environment variable.
func isVariable(text string) bool {
	return text != "" && (text[0] < '0' || text[0] > '9') && consistsOf(text, func(c rune) bool { return isWordCharacter(c) && c != '-' })
}

// lineOf looks for a setting below a node and returns its line. If it is missing, lineOf returns
// the line of its closest parent that exists, or 0. Lines are looked up only for problems,
// because a file has many settings and few problems.
func lineOf(node *yaml.Node, setting string) (line int) {
	for node != nil && setting != "" {
		var at int
		if node, at, setting = below(node, setting); node != nil {
			line = at
		}
	}
	return line
}

// below looks up the first part of a setting's name in a node. It returns the value's node, the
// line, and the remaining name. The node is nil if there is none.
func below(node *yaml.Node, setting string) (value *yaml.Node, line int, rest string) {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	switch node.Kind {
	default: // a scalar has no children
	case yaml.SequenceNode:
		number, rest, _ := strings.Cut(setting, ".")
		if i, err := strconv.Atoi(number); err == nil && i >= 1 && i <= len(node.Content) {
			return node.Content[i-1], node.Content[i-1].Line, rest
		}
	case yaml.MappingNode:
		for key, value := range pairs(node, false) {
			name := key.Value
			if !isName(name) {
				name = SettingName(name)
			}
			if rest, ok := strings.CutPrefix(setting, name); ok && (rest == "" || rest[0] == '.') {
				return value, key.Line, strings.TrimPrefix(rest, ".")
			}
		}
		for _, merged := range pairs(node, true) { // the last one wins
			if v, at, r := below(merged, setting); v != nil {
				value, line, rest = v, at, r
			}
		}
	}
	return value, line, rest
}
