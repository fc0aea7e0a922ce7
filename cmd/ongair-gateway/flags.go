package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// rejectEmptyFlags returns an error if a flag has an empty value or an empty list item. Such a
// value usually comes from an unset shell variable. It would select all contacts, any channel or
// no TLS. Flags with the tag emptyok may be empty. Environment variables are not checked, because
// an empty one usually means that it is not set.
func rejectEmptyFlags(command *kong.Context) error {
	for _, path := range command.Path {
		flag := path.Flag
		if flag == nil || flag.Tag.Has("emptyok") {
			continue
		}
		// The parsed value cannot be used, because kong drops an empty last item of a list.
		value := command.Args[len(command.Args)-len(path.Remainder())-1]
		if strings.HasPrefix(value, "--") {
			_, given, ok := strings.Cut(value, "=")
			if !ok {
				continue // a flag without a value
			}
			value = given
		}
		if value == "" || flag.IsSlice() && hasEmptyItem(value, flag.Tag.Sep) {
			return fmt.Errorf("--%s: empty value: set one, or remove the flag", flag.Name)
		}
	}
	return nil
}

// hasEmptyItem reports whether a list has an empty item.
func hasEmptyItem(list string, separator rune) bool {
	// SplitEscaped drops an empty item at the end.
	items := kong.SplitEscaped(list+string(separator)+"end", separator)
	return slices.Contains(items, "")
}
