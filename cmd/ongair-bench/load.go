package main

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// postAll posts n events through all posters as fast as possible.
func postAll(ctx context.Context, posters []*poster, events *bodies, n int) error {
	var posted atomic.Int64
	return eachPoster(ctx, posters, func(ctx context.Context, p *poster) error {
		var body []byte
		for ctx.Err() == nil && posted.Add(1) <= int64(n) {
			body = events.appendBody(body[:0], time.Now())
			if err := p.post(body); err != nil {
				return err
			}
		}
		return ctx.Err()
	})
}

// postUntilDone posts through all posters until ctx ends, and returns the latency of each post.
func postUntilDone(ctx context.Context, posters []*poster, events *bodies) ([]time.Duration, error) {
	var posts []func(context.Context) error
	for _, p := range posters {
		var body []byte
		posts = append(posts, func(context.Context) error {
			body = events.appendBody(body[:0], time.Now())
			return p.post(body)
		})
	}
	return repeat(ctx, posts)
}

// repeat makes calls until ctx ends, and returns their latencies. Each of the calls is made again
// and again, at the same time as the others. ctx does not end a call.
func repeat(ctx context.Context, calls []func(context.Context) error) ([]time.Duration, error) {
	var mu sync.Mutex
	var all []time.Duration
	group, running := errgroup.WithContext(context.WithoutCancel(ctx))
	for _, call := range calls {
		group.Go(func() error {
			var took []time.Duration
			defer func() {
				mu.Lock()
				defer mu.Unlock()
				all = append(all, took...)
			}()
			for ctx.Err() == nil {
				began := time.Now()
				if err := call(running); err != nil {
					return err
				}
				took = append(took, time.Since(began))
			}
			return nil
		})
	}
	err := group.Wait()
	return all, err
}

// closedLoop posts through all posters until ctx ends, and returns the number of posts. A post
// begins when fewer than window events are undelivered, averaged over the reading streams.
func closedLoop(ctx context.Context, posters []*poster, events *bodies, readers *streams, window int64) (int64, error) {
	before := readers.perStream()
	var posted atomic.Int64
	// admit waits for room. It returns false when ctx has ended.
	admit := func() bool {
		for ctx.Err() == nil {
			n := posted.Load()
			if n-(readers.perStream()-before) < window {
				if posted.CompareAndSwap(n, n+1) {
					readers.wake() // there may be room for another poster
					return true
				}
				continue
			}
			select {
			case <-ctx.Done():
			case <-readers.progress:
			}
		}
		return false
	}
	err := eachPoster(context.WithoutCancel(ctx), posters, func(_ context.Context, p *poster) error {
		var body []byte
		for admit() {
			body = events.appendBody(body[:0], time.Now())
			if err := p.post(body); err != nil {
				return err
			}
		}
		return nil
	})
	return posted.Load(), err
}

// errTooSlow means that the posts fell 10 s behind their pace.
var errTooSlow = errors.New("the server did not keep up with the pace")

// pace posts perSecond events per second until ctx ends, without waiting for answers, and returns
// the number of posts. An event carries the time at which it was due, so its latency includes the
// wait for a connection.
func pace(ctx context.Context, posters []*poster, events *bodies, perSecond int) (int64, error) {
	due := make(chan time.Time, 10*perSecond) // 10 s
	var posted atomic.Int64
	group, _ := errgroup.WithContext(context.WithoutCancel(ctx))
	group.Go(func() error {
		defer close(due)
		ticker := time.NewTicker(time.Second / time.Duration(perSecond))
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-ticker.C:
			}
			select {
			case due <- time.Now():
			default:
				return errTooSlow
			}
		}
	})
	group.Go(func() error {
		return eachPoster(context.WithoutCancel(ctx), posters, func(_ context.Context, p *poster) error {
			var body []byte
			for at := range due {
				body = events.appendBody(body[:0], at)
				if err := p.post(body); err != nil {
					return err
				}
				posted.Add(1)
			}
			return nil
		})
	})
	err := group.Wait()
	return posted.Load(), err
}

// eachPoster runs work for every poster at the same time.
func eachPoster(ctx context.Context, posters []*poster, work func(context.Context, *poster) error) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, p := range posters {
		group.Go(func() error { return work(ctx, p) })
	}
	return group.Wait()
}
