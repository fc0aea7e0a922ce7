package listen_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ongair/ongair-gateway/server/listen"
)

// withBody returns a request with a body. A negative length is unknown.
func withBody(body io.Reader, length int64) *http.Request {
	req := httptest.NewRequest(http.MethodPost, "/", body)
	req.ContentLength = length
	return req
}

func TestABodyIsReadWhole(t *testing.T) {
	bodies := listen.NewBodies()
	for _, size := range []int{0, 1, 16<<10 - 1, 16 << 10, 16<<10 + 1, 100_000, 1<<20 - 1, 1 << 20, 1<<20 + 1} {
		content := bytes.Repeat([]byte("x"), size)
		for name, length := range map[string]int64{"with its length": int64(size), "without its length": -1} {
			for range 20 { // more than may be held at a time
				body, release, err := bodies.Read(httptest.NewRecorder(), withBody(bytes.NewReader(content), length))
				release()
				release()
				if size > 1<<20 {
					require.ErrorIs(t, err, listen.ErrBodyTooLarge, name)
					continue
				}
				require.NoError(t, err, "%d bytes %s", size, name)
				require.Equal(t, size, len(body), name)
			}
		}
	}
}

func TestABodyThatBreaksOffIsAnError(t *testing.T) {
	broken := errors.New("broken")
	for _, size := range []int{10, 100_000} {
		for _, length := range []int64{-1, 200_000} {
			from := io.MultiReader(bytes.NewReader(make([]byte, size)), errReader{broken})
			_, release, err := listen.NewBodies().Read(httptest.NewRecorder(), withBody(from, length))
			release()
			require.ErrorIs(t, err, broken)
		}
	}
}

type errReader struct{ error }

func (r errReader) Read([]byte) (int, error) { return 0, r.error }

// Sixteen clients that send a large body slowly take all that there is.
func TestLargeBodiesWaitForEachOtherAndSmallOnesDoNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bodies := listen.NewBodies()
		var slow []*io.PipeWriter
		for range 16 {
			from, to := io.Pipe()
			slow = append(slow, to)
			go func() {
				_, release, err := bodies.Read(httptest.NewRecorder(), withBody(from, -1))
				defer release()
				assert.NoError(t, err)
			}()
			_, err := to.Write(make([]byte, 20<<10))
			require.NoError(t, err)
		}
		read := func(size int) error {
			_, release, err := bodies.Read(httptest.NewRecorder(), withBody(bytes.NewReader(make([]byte, size)), int64(size)))
			release()
			return err
		}
		start := time.Now()
		require.NoError(t, read(10_000))
		assert.Zero(t, time.Since(start))
		require.ErrorIs(t, read(20_000), listen.ErrBuffersFull)
		assert.Equal(t, 5*time.Second, time.Since(start))

		time.AfterFunc(time.Second, func() { _ = slow[0].Close() })
		require.NoError(t, read(20_000))
		assert.Equal(t, 6*time.Second, time.Since(start))
		for _, to := range slow {
			_ = to.Close()
		}
	})
}
