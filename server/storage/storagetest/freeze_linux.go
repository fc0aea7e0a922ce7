package storagetest

import "syscall"

// Freeze suspends the process of the server until Thaw. Its connections stay open, but it does not
// answer.
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
