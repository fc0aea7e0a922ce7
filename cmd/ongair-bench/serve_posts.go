package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
)

// maxPost is more than the size of an event.
const maxPost = 1 << 20

// servePosts serves a handler that passes the body of each post to take, until ctx ends. It
// calls ready with its URL.
func servePosts(ctx context.Context, take func(ctx context.Context, body []byte) error, ready func(url string) error) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{ReadHeaderTimeout: postTimeout, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength < 0 || r.ContentLength > maxPost {
			http.Error(w, "want a body with a length", http.StatusBadRequest)
			return
		}
		body := make([]byte, r.ContentLength)
		if _, err := io.ReadFull(r.Body, body); err != nil {
			http.Error(w, "want a whole body", http.StatusBadRequest)
			return
		}
		if err := take(r.Context(), body); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
	})}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })() // the process is at its end
	if err := ready(fmt.Sprintf("http://%s/", listener.Addr())); err != nil {
		return err
	}
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
