package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// measure runs work and measures the CPU time and memory that it takes. work returns its number of
// units. The caller adds latencies to the sample.
func (r *runner) measure(ctx context.Context, p *process, work func(context.Context) (float64, error)) (sample, error) {
	stopProfile := r.startProfile(ctx, p)
	began, err := readUsage(p)
	if err != nil {
		return nil, err
	}
	units, err := work(ctx)
	if err != nil {
		return nil, err
	}
	ended, err := readUsage(p)
	if err != nil {
		return nil, err
	}
	if err := stopProfile(); err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	select {
	case <-p.ended:
		return nil, fmt.Errorf("the server ended during the measurement: %w", p.err)
	default:
	}
	seconds := ended.at.Sub(began.at).Seconds()
	s := sample{
		serverCPU: (ended.server - began.server).Seconds() / seconds,
		loadCPU:   (ended.load - began.load).Seconds() / seconds,
		memory:    float64(ended.memory) / megabyte,
	}
	if units > 0 {
		s[rate] = units / seconds
		s[cpuPerUnit] = float64((ended.server - began.server).Microseconds()) / units
	}
	return s, nil
}

// usage is a reading of CPU times and of the server's memory.
type usage struct {
	at           time.Time
	server, load time.Duration
	memory       int64
}

func readUsage(p *process) (usage, error) {
	var u usage
	var err error
	if u.memory, err = anonymousMemory(p.pid); err != nil {
		return u, err
	}
	if u.server, err = cpuTime(p.pid); err != nil {
		return u, err
	}
	if u.load, err = cpuTime(os.Getpid()); err != nil {
		return u, err
	}
	u.at = time.Now()
	return u, nil
}

// startProfile starts a CPU profile of a gateway for the measured time, if one is requested. stop
// waits for its end.
func (r *runner) startProfile(ctx context.Context, p *process) (stop func() error) {
	if r.profile == "" || p.Admin == "" {
		return func() error { return nil }
	}
	file := r.profile
	done := make(chan error, 1)
	go func() {
		seconds := max(1, int(r.duration.Seconds()))
		done <- fetch(ctx, fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", p.Admin, seconds), file)
	}()
	return func() error { return <-done }
}

// fetch writes the response of a URL to a file.
func fetch(ctx context.Context, url, file string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }() // read to its end
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	return os.WriteFile(file, body, 0o600)
}

// sleep waits for d. It returns an error if ctx ends first.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
