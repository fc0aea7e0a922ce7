package sandbox

import (
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const png = "\x89PNG\r\n\x1a\n\x00\xff"

func TestAnUploadedFileIsListedAndServed(t *testing.T) {
	for name, tt := range map[string]struct{ path, request, field string }{
		"an image":   {"/send_image", "send_image_file.multipart", "image"},
		"a document": {"/send_document", "send_document_file.multipart", "file_url"},
	} {
		t.Run(name, func(t *testing.T) {
			url, webhooks := receiver(t, http.StatusOK)
			s, baseURL := start(t, quick(url))
			status, answer := call(t, baseURL, tt.path, golden(t, "requests", tt.request))
			require.Equal(t, http.StatusOK, status)
			assert.Equal(t, golden(t, "answers", "sent.json"), answer)

			file := File{Field: tt.field, Name: "the cat.png", ContentType: "image/png", Size: len(png)}
			assert.Equal(t, []File{file}, s.Requests()[0].Files)
			assert.Equal(t, map[string]string{"phone_number": "254722200200", "caption": "A caption"}, s.Requests()[0].Params)
			for _, list := range []string{"/requests", "/state"} {
				_, shown := control(s, http.MethodGet, list, "")
				for _, want := range []string{
					`"field": "` + tt.field + `"`, `"name": "the cat.png"`, `"content_type": "image/png"`, `"size": 10`,
				} {
					assert.Contains(t, shown, want, list)
				}
			}

			sent := s.state.snapshot().Messages[0]
			assert.Equal(t, file, *sent.File)
			assert.Equal(t, "image/png", sent.ContentType)
			assert.Equal(t, baseURL+"/_sandbox/files/1/the%20cat.png", sent.URL)
			if tt.field == "image" {
				assert.Contains(t, receive(t, webhooks).body, "&image=http%3A%2F%2F127.0.0.1%3A")
			}
			response, err := httpClient(t).Get(sent.URL)
			require.NoError(t, err)
			defer response.Body.Close()
			content, err := io.ReadAll(response.Body)
			require.NoError(t, err)
			assert.Equal(t, png, string(content))
			assert.Equal(t, "image/png", response.Header.Get("Content-Type"))
			assert.Equal(t, "sandbox", response.Header.Get("Content-Security-Policy"))
		})
	}
}

func TestAFileOfAnyNameIsServed(t *testing.T) {
	for name, path := range map[string]string{
		"cat.png": "/files/1/cat.png", "..": "/files/1/file", ".": "/files/1/file", "a?b#c%d": "/files/1/a%3Fb%23c%25d",
		"../../etc/passwd": "/files/1/passwd", "paka 猫.png": "/files/1/paka%20%E7%8C%AB.png",
	} {
		t.Run(name, func(t *testing.T) {
			s := New(Config{Token: token})
			var body strings.Builder
			writer := multipart.NewWriter(&body)
			for field, value := range map[string]string{"external_id": "a", "content_type": "image/gif"} {
				require.NoError(t, writer.WriteField(field, value))
			}
			part, err := writer.CreatePart(textproto.MIMEHeader{"Content-Disposition": {multipart.FileContentDisposition("image", name)}})
			require.NoError(t, err)
			_, _ = part.Write([]byte(png))
			require.NoError(t, writer.Close())
			status, answer := ask(s, "/send_image", body.String())
			require.Equal(t, http.StatusOK, status, answer)
			sent := s.state.snapshot().Messages[0]
			assert.Equal(t, "http://example.com/_sandbox"+path, sent.URL)
			assert.Equal(t, "image/gif", sent.ContentType, "the field content_type comes first")
			status, content := control(s, http.MethodGet, path, "")
			assert.Equal(t, http.StatusOK, status)
			assert.Equal(t, png, content)
		})
	}
}

func TestAnUnknownFileIsNotFound(t *testing.T) {
	s := New(Config{Token: token})
	status, _ := ask(s, "/send_image", golden(t, "requests", "send_image_file.multipart"))
	require.Equal(t, http.StatusOK, status)
	for _, path := range []string{"/files/2/cat.png", "/files/0/cat.png", "/files/x/cat.png"} {
		status, _ := control(s, http.MethodGet, path, "")
		assert.Equal(t, http.StatusNotFound, status, path)
	}
}

func TestAFileInAnotherFieldIsNotTheImage(t *testing.T) {
	body := strings.ReplaceAll(golden(t, "requests", "send_image_file.multipart"), `"image"`, `"photo"`)
	s := New(Config{Token: token})
	status, answer := ask(s, "/send_image", body)
	assert.Equal(t, http.StatusUnprocessableEntity, status)
	assert.JSONEq(t, `{"error":"Parameter image is missing"}`, answer)
	assert.Equal(t, "photo", s.Requests()[0].Files[0].Field)
}

func TestUnderTLSAFileHasAnHTTPSURL(t *testing.T) {
	s := New(Config{Token: token})
	server := httptest.NewTLSServer(s.Handler())
	t.Cleanup(server.Close)
	response, err := server.Client().Post(server.URL+apiPath+"/send_image?token="+token, "",
		strings.NewReader(golden(t, "requests", "send_image_file.multipart")))
	require.NoError(t, err)
	_ = response.Body.Close()
	assert.Equal(t, server.URL+"/_sandbox/files/1/the%20cat.png", s.state.snapshot().Messages[0].URL)
}
