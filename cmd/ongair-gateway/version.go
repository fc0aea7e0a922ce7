package main

import (
	"fmt"
	"runtime/debug"
)

type versionCmd struct{}

// Run prints the version and the Go version.
func (versionCmd) Run(s streams) error {
	info, _ := debug.ReadBuildInfo()
	goVersion := "unknown Go"
	if info != nil {
		goVersion = info.GoVersion
	}
	_, err := fmt.Fprintf(s.out, "ongair-gateway %s (%s)\n", version(), goVersion)
	return err
}

// version returns the version that the Go toolchain recorded. It is the module's version, or a
// version derived from the commit.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}
