package sandbox

import (
	"net/http"
	"net/url"
	"strconv"
	"sync"
)

// File is a file that a call uploaded in a multipart body. The call's body has its content.
type File struct {
	// Field is the field of the form, for example "image".
	Field string `json:"field"`
	// Name is the file's name without directories.
	Name string `json:"name"`
	// ContentType is the part's Content-Type. It may be empty.
	ContentType string `json:"content_type"`
	// Size is the length of the content in bytes.
	Size int `json:"size"`
}

// upload is a File with its content.
type upload struct {
	File
	content []byte
}

// fileOf returns the last upload of a field, or nil.
func fileOf(files []upload, field string) *upload {
	for i := len(files) - 1; i >= 0; i-- {
		if files[i].Field == field {
			return &files[i]
		}
	}
	return nil
}

func withoutContent(files []upload) []File {
	var list []File
	for _, f := range files {
		list = append(list, f.File)
	}
	return list
}

// uploads keeps the files of messages, so that the URLs in webhooks work. It has the bounds of a
// history. Its zero value is empty and ready to use. It is safe for concurrent use.
type uploads struct {
	mu   sync.Mutex // guards last and the order of kept
	last int
	kept history[keptUpload]
}

type keptUpload struct {
	id string
	upload
}

// keep stores a file and returns the path that serves it.
func (u *uploads) keep(file upload) (path string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.last++
	id := strconv.Itoa(u.last)
	u.kept.add(&keptUpload{id, file}, len(file.content))
	name := file.Name
	if name == "." || name == ".." {
		name = "file" // a URL cannot end with these
	}
	return controlPath + "/files/" + id + "/" + url.PathEscape(name)
}

func (u *uploads) get(id string) (upload, bool) {
	for _, k := range u.kept.list() {
		if k.id == id {
			return k.upload, true
		}
	}
	return upload{}, false
}

// serveUpload answers with an uploaded file.
func (s *Sandbox) serveUpload(w http.ResponseWriter, r *http.Request) {
	file, ok := s.uploads.get(r.PathValue("id"))
	if !ok {
		http.NotFound(w, r)
		return
	}
	if file.ContentType != "" {
		w.Header().Set("Content-Type", file.ContentType)
	}
	// An uploaded page must not run in a browser, because it could use the controls.
	w.Header().Set("Content-Security-Policy", "sandbox")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(file.content)
}
