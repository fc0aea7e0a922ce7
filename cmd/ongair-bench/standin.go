package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
)

// standIn is a stand-in for Ongair that answers every call at once with the same response. It reads
// requests and writes answers itself, at a fraction of the cost of net/http, because it shares the
// machine with the server under test.
type standIn struct {
	listener net.Listener
	answer   []byte

	// calls counts the answered calls, and connections the accepted connections.
	calls, connections atomic.Int64

	mu   sync.Mutex
	open map[net.Conn]struct{}
	wg   sync.WaitGroup
}

// startStandIn starts a stand-in. The caller MUST close it.
func startStandIn(ctx context.Context) (*standIn, error) {
	const body = `{"sent":"true","id":"35345432","conversation_id":"22"}`
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &standIn{
		listener: listener,
		answer: []byte("HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: " +
			strconv.Itoa(len(body)) + "\r\n\r\n" + body),
		open: map[net.Conn]struct{}{},
	}
	s.wg.Go(s.accept)
	return s, nil
}

func (s *standIn) url() string { return "http://" + s.listener.Addr().String() }

func (s *standIn) accept() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return // closed
		}
		s.connections.Add(1)
		s.mu.Lock()
		s.open[conn] = struct{}{}
		s.mu.Unlock()
		s.wg.Go(func() {
			_ = s.serve(conn) // the client ends the connection
			s.mu.Lock()
			delete(s.open, conn)
			s.mu.Unlock()
			_ = conn.Close() // serve has ended
		})
	}
}

// serve answers the requests of a connection until it ends.
func (s *standIn) serve(conn net.Conn) error {
	requests := bufio.NewReader(conn)
	for {
		length := -1
		for {
			line, err := requests.ReadSlice('\n')
			if err != nil {
				return err
			}
			line = bytes.TrimRight(line, "\r\n")
			if len(line) == 0 {
				break
			}
			if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
				if length, err = strconv.Atoi(string(value)); err != nil {
					return err
				}
			}
		}
		if length < 0 {
			return errors.New("request without a Content-Length")
		}
		if _, err := requests.Discard(length); err != nil {
			return err
		}
		if _, err := conn.Write(s.answer); err != nil {
			return err
		}
		s.calls.Add(1)
	}
}

func (s *standIn) close() error {
	err := s.listener.Close()
	s.mu.Lock()
	for conn := range s.open {
		_ = conn.Close() // the load has ended
	}
	s.mu.Unlock()
	s.wg.Wait()
	return err
}
