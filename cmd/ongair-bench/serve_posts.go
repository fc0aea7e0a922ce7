package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
)

// maxPost bounds the body of a post in bytes. Events are much smaller.
const maxPost = 1 << 20

// servePosts serves posts and passes each body to take, until ctx ends. It calls ready with its
// URL.
func servePosts(ctx context.Context, take func(ctx context.Context, body []byte) error, ready func(url string) error) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{ReadHeaderTimeout: postTimeout, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength < 0 || r.ContentLength > maxPost {
			http.Error(w, "invalid Content-Length", http.StatusBadRequest)
			return
		}
		body := make([]byte, r.ContentLength)
		if _, err := io.ReadFull(r.Body, body); err != nil {
			http.Error(w, "incomplete body", http.StatusBadRequest)
			return
		}
		if err := take(r.Context(), body); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
	})}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })() // the process ends
	if err := ready(fmt.Sprintf("http://%s/", listener.Addr())); err != nil {
		return err
	}
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
