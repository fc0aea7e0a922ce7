package storagetest

import "syscall"

// Freeze stops the process of the server without ending it, and Thaw continues it. Its connections
// stay open, and nobody answers on them.
func (s *Server) Freeze(t T) { s.signal(t, syscall.SIGSTOP) }

// Thaw continues a frozen server.
func (s *Server) Thaw(t T) { s.signal(t, syscall.SIGCONT) }

func (s *Server) signal(t T, signal syscall.Signal) {
	t.Helper()
	if err := s.cmd.Process.Signal(signal); err != nil {
		t.Errorf("signal %s: %s", signal, err)
		t.FailNow()
	}
}
