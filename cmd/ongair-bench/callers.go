package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// idleCallers measures an idle gateway with many callers and channels, and a check of its
// configuration. It runs the released program, which watches its configuration files.
func idleCallers(ctx context.Context, w *workbench) ([]trial, error) {
	program, err := w.buildGateway(ctx)
	if err != nil {
		w.logf("skipped K1 because the gateway cannot be built: %v", err)
		return nil, nil
	}
	one := func(name string, channels, callers int) (variant, error) {
		file, err := w.writeConfiguration(channels, callers)
		return variant{name, func(ctx context.Context) (_ sample, err error) {
			began := time.Now()
			check := exec.CommandContext(ctx, program, "config", "check", "--config", file) //nolint:gosec // the program that was built above
			check.Stderr = w.log
			if err := check.Run(); err != nil {
				return nil, fmt.Errorf("config check: %w", err)
			}
			checked := time.Since(began)
			server, err := w.startProgram(ctx, program, file)
			if err != nil {
				return nil, err
			}
			defer func() { err = errors.Join(err, server.stop()) }()
			if err := sleep(ctx, w.settle); err != nil {
				return nil, err
			}
			s, err := w.measure(ctx, server, func(ctx context.Context) (float64, error) { return 0, sleep(ctx, w.watch) })
			if err != nil {
				return nil, err
			}
			s[checkSeconds] = checked.Seconds()
			return s, nil
		}}, err
	}
	baseline, err := one("one channel", 1, 0)
	if err != nil {
		return nil, err
	}
	many, err := one(gateway, w.idleChannels, w.idleCallers)
	if err != nil {
		return nil, err
	}
	return []trial{{
		name: "K1", unit: "", variants: []variant{baseline, many},
		goals: []goal{
			{metric: serverCPU, limit: 0.01, atMost: true, text: "≤ 1 % of a core"},
			{metric: checkSeconds, limit: 0.2, atMost: true, text: "check ≤ 0.2 s"},
		},
	}}, nil
}

// writeConfiguration writes a config file and returns its path. The secrets of each channel are in
// separate files, as Kubernetes mounts them. All files look an hour old, because the gateway reads
// recent files twice.
func (r *runner) writeConfiguration(channels, callers int) (string, error) {
	dir, err := r.newDir()
	if err != nil {
		return "", err
	}
	old := time.Now().Add(-time.Hour)
	write := func(name, content string) (string, error) {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			return "", err
		}
		return path, os.Chtimes(path, old, old)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "data_dir: %q\nlog_format: json\n", filepath.Join(dir, "data"))
	for _, port := range []string{"grpc", "http", "webhook", "admin"} {
		fmt.Fprintf(&b, "%s_addr: 127.0.0.1:0\n", port)
	}
	b.WriteString("channels:\n")
	for i := range channels {
		token, err := write(fmt.Sprintf("token-%d", i), "unused\n")
		if err != nil {
			return "", err
		}
		webhookSecret, err := write(fmt.Sprintf("secret-%d", i), fmt.Sprintf("%s-%d\n", secret, i))
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "  channel-%d:\n    token_file: %q\n    webhook_secret_file: %q\n", i, token, webhookSecret)
	}
	b.WriteString("callers:\n")
	for i := range callers {
		fmt.Fprintf(&b, "  caller-%d:\n    key_hashes: [\"sha256:%x\"]\n    actions: [send, subscribe]\n    channels: [channel-%d]\n    max_rate: 10\n",
			i, sha256.Sum256(fmt.Append(nil, i)), i%channels)
	}
	return write("gateway.yaml", b.String())
}
