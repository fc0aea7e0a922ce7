package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// rejectEmptyFlags fails if a flag of the command line is empty, or a list has an empty
// item. An empty value usually comes from a variable that is not set, and would mean
// everything or the default: all contacts, any channel, no TLS. Flags with the tag
// emptyok are texts that may be empty. Environment variables are not checked: an empty
// one usually means that it is not set.
func rejectEmptyFlags(command *kong.Context) error {
	for _, path := range command.Path {
		flag := path.Flag
		if flag == nil || flag.Tag.Has("emptyok") {
			continue
		}
		// The parsed value does not have the items of a list one by one: kong drops the
		// last one if it is empty.
		value := command.Args[len(command.Args)-len(path.Remainder())-1]
		if strings.HasPrefix(value, "--") {
			_, given, ok := strings.Cut(value, "=")
			if !ok {
				continue // a flag without a value
			}
			value = given
		}
		if value == "" || flag.IsSlice() && hasEmptyItem(value, flag.Tag.Sep) {
			return fmt.Errorf("--%s: empty value: set one, or leave out the flag", flag.Name)
		}
	}
	return nil
}

// hasEmptyItem reports whether a list has an empty item.
func hasEmptyItem(list string, separator rune) bool {
	// SplitEscaped leaves out an empty item at the end.
	items := kong.SplitEscaped(list+string(separator)+"end", separator)
	return slices.Contains(items, "")
}
