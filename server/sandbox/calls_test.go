package sandbox

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDocumentedRequestsGetDocumentedAnswers(t *testing.T) {
	const curlsMultipart = "multipart/form-data; boundary=------------------------d74496d66958873e"
	for name, tt := range map[string]struct{ path, contentType, request, answer string }{
		"a text as JSON":          {"/send", "application/json", "send.json", "sent.json"},
		"an image as multipart":   {"/send_image", curlsMultipart, "send_image.multipart", "sent.json"},
		"a document as multipart": {"/send_document", curlsMultipart, "send_document.multipart", "sent.json"},
		"a ticket as JSON":        {"/create_conversation", "application/json", "create_conversation.json", "ticket.json"},
	} {
		t.Run(name, func(t *testing.T) {
			s, baseURL := start(t, Config{})
			body := golden(t, "requests", tt.request)
			status, answer := exchange(t, http.MethodPost, baseURL+apiPath+tt.path, tt.contentType, body,
				"Authorization", "Token token:"+token)
			assert.Equal(t, http.StatusOK, status)
			assert.Equal(t, golden(t, "answers", tt.answer), answer)

			requests := s.Requests()
			require.Len(t, requests, 1)
			assert.Equal(t, body, string(requests[0].Body))
			assert.Equal(t, http.MethodPost, requests[0].Method)
			assert.Equal(t, apiPath+tt.path, requests[0].Path)
			assert.Equal(t, tt.contentType, requests[0].Header.Get("Content-Type"))
			assert.Equal(t, customer, requests[0].Params["external_id"])
			assert.Equal(t, http.StatusOK, requests[0].Status)
		})
	}
}

func TestACallIsRejectedAsOngairDoes(t *testing.T) {
	const contact = "external_id=%2B254722200200"
	for name, tt := range map[string]struct {
		path, body, answer string
	}{
		"a text without text":           {"/send", contact, "Parameter text is missing"},
		"a text with an empty text":     {"/send", contact + "&text=", "Parameter text is missing"},
		"a text without a contact":      {"/send", "text=Hello", "Parameter external_id is missing"},
		"an image without a URL":        {"/send_image", contact + "&content_type=image/png", "Parameter image is missing"},
		"a document without a URL":      {"/send_document", contact, "Parameter file_url is missing"},
		"a ticket without a message id": {"/create_conversation", contact, "Parameter message_id is missing"},
		"a ticket in no direction":      {"/create_conversation", contact + "&message_id=1&direction=UP", "Direction UP is not supported"},
	} {
		t.Run(name, func(t *testing.T) {
			s := New(Config{Token: token})
			status, answer := ask(s, tt.path, tt.body)
			assert.Equal(t, http.StatusUnprocessableEntity, status)
			assert.JSONEq(t, `{"error":"`+tt.answer+`"}`, answer)
			assert.Empty(t, s.state.snapshot().Messages)
			assert.Equal(t, http.StatusUnprocessableEntity, s.Requests()[0].Status)
		})
	}
}

func TestTheUnknownContactOfTheDocumentationDoesNotExist(t *testing.T) {
	for name, contact := range map[string]string{
		"with a plus sign":              "external_id=%2B254705865640",
		"with digits only":              "external_id=254705865640",
		"with a plus sign left as is":   "external_id=+254705865640",
		"as the external contact id":    "external_contact_id=%2B254705865640",
		"as the second of two contacts": "external_id=1&external_contact_id=%2B254705865640",
		"as the phone number":           "phone_number=254705865640",
	} {
		t.Run(name, func(t *testing.T) {
			for _, path := range []string{"/send", "/send_image", "/send_document", "/create_conversation"} {
				status, answer := ask(New(Config{Token: token}), path,
					contact+"&text=a&image=b&content_type=image/png&file_url=c&message_id=d")
				assert.Equal(t, http.StatusUnprocessableEntity, status, path)
				assert.Equal(t, golden(t, "answers", "unknown_contact.json"), answer, path)
			}
		})
	}
}

func TestOneContactFieldIsEnough(t *testing.T) {
	for name, tt := range map[string]struct{ fields, contact string }{
		"the external id alone":          {"external_id=a", "a"},
		"the external contact id alone":  {"external_contact_id=b", "b"},
		"both, and the second counts":    {"external_id=a&external_contact_id=b", "b"},
		"the phone number alone":         {"phone_number=c", "c"},
		"a phone number beside an id":    {"external_id=a&phone_number=c", "a"},
		"an empty id and a phone number": {"external_id=&external_contact_id=&phone_number=c", "c"},
		"another contact's phone number": {"external_id=a&phone_number=254705865640", "a"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, path := range []string{"/send", "/send_image", "/send_document", "/create_conversation"} {
				s := New(Config{Token: token})
				status, answer := ask(s, path, tt.fields+"&text=Hello&image=b&file_url=c&message_id=d")
				require.Equal(t, http.StatusOK, status, answer)
				assert.Equal(t, tt.contact, s.state.snapshot().Contacts[0].ExternalContactID, path)
			}
		})
	}
}

func TestAnImageMayHaveAnyContentTypeAndEitherCaption(t *testing.T) {
	for name, tt := range map[string]struct{ fields, contentType, text string }{
		"as documented":                 {"content_type=image/png&text=A+caption", "image/png", "A caption"},
		"without a content type":        {"text=A+caption", "", "A caption"},
		"as image/jpg":                  {"content_type=image/jpg", "image/jpg", ""},
		"as image/gif":                  {"content_type=image/gif", "image/gif", ""},
		"with caption in place of text": {"caption=A+caption", "", "A caption"},
		"with caption and text":         {"caption=A+caption&text=A+text", "", "A text"},
	} {
		t.Run(name, func(t *testing.T) {
			s := New(Config{Token: token})
			status, answer := ask(s, "/send_image", "external_id=a&image=http://x/y&"+tt.fields)
			require.Equal(t, http.StatusOK, status, answer)
			sent := s.state.snapshot().Messages[0]
			assert.Equal(t, tt.contentType, sent.ContentType)
			assert.Equal(t, tt.text, sent.Text)
			assert.Equal(t, "http://x/y", sent.URL)
		})
	}
}

func TestRepeatedSlashesAreSqueezedButListedUnchanged(t *testing.T) {
	for name, path := range map[string]string{
		"two in front":        "//api/v1/base/send",
		"two inside":          "/api//v1/base/send",
		"two before the call": "/api/v1/base//send",
		"one behind":          "/api/v1/base/send/",
		"many in every place": "///api///v1///base///send///",
	} {
		t.Run(name, func(t *testing.T) {
			s, baseURL := start(t, Config{})
			s.SetFaults(Fault{Path: "/send", Times: 1, Status: 503})
			for _, want := range []int{503, 200} {
				status, answer := exchange(t, http.MethodPost, baseURL+path, formType, hello, "Authorization", "Token token:"+token)
				assert.Equal(t, want, status, answer)
			}
			assert.Equal(t, path, s.Requests()[0].Path)
			assert.Len(t, s.state.snapshot().Messages, 1)
		})
	}
}

func TestADocumentIsAPDFByDefault(t *testing.T) {
	s := New(Config{Token: token})
	status, _ := ask(s, "/send_document", "external_id=a&file_url=http://x/y")
	require.Equal(t, http.StatusOK, status)
	status, _ = ask(s, "/send_document", "external_id=a&file_url=http://x/y&content_type=text/csv")
	require.Equal(t, http.StatusOK, status)
	messages := s.state.snapshot().Messages
	assert.Equal(t, "application/pdf", messages[0].ContentType)
	assert.Equal(t, "text/csv", messages[1].ContentType)
}

func TestUnknownPathsAndMethodsAreRejectedAndListed(t *testing.T) {
	s, baseURL := start(t, Config{})
	for name, tt := range map[string]struct {
		method, path string
		status       int
	}{
		"an unknown call":          {http.MethodPost, apiPath + "/send_fax", http.StatusNotFound},
		"the prefix twice":         {http.MethodPost, apiPath + apiPath + "/send", http.StatusNotFound},
		"no prefix":                {http.MethodPost, "/send", http.StatusNotFound},
		"two slashes and no call":  {http.MethodPost, apiPath + "//", http.StatusNotFound},
		"a call with a call in it": {http.MethodPost, apiPath + "/send/send", http.StatusNotFound},
		"a search of nothing":      {http.MethodGet, "/api/v1/search", http.StatusNotFound},
		"a search of tickets":      {http.MethodGet, "/api/v1/search/tickets", http.StatusNotFound},
		"a close without a number": {http.MethodPost, apiPath + "/conversations//close", http.StatusNotFound},
		"a close with two numbers": {http.MethodPost, apiPath + "/conversations/1/2/close", http.StatusNotFound},
		"a conversation":           {http.MethodGet, apiPath + "/conversations/1", http.StatusNotFound},
		"no slash before the call": {http.MethodPost, apiPath + "send", http.StatusNotFound},
		"a send with GET":          {http.MethodGet, apiPath + "/send", http.StatusMethodNotAllowed},
		"the status with POST":     {http.MethodPost, apiPath + "/status", http.StatusMethodNotAllowed},
		"a path like the controls": {http.MethodGet, "/_sandboxed", http.StatusNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			s.requests.clear()
			status, _ := exchange(t, tt.method, baseURL+tt.path, "", "", "Authorization", "Token token:"+token)
			assert.Equal(t, tt.status, status)
			requests := s.Requests()
			require.Len(t, requests, 1)
			assert.Equal(t, tt.path, requests[0].Path)
			assert.Equal(t, tt.status, requests[0].Status)
		})
	}
}

func TestAnUnimplementedCallIsAnsweredWith501(t *testing.T) {
	for _, path := range []string{
		"/send_video", "/send_audio", "/send_chain", "/send_location_prompt", "/send_telephone_prompt", "/send_contact",
		"/send_template", "/send_template_message", "/template_messages", "/create_group", "/create_contact",
		"/conversations/254722200200/close", "/conversations/+254722200200/close",
	} {
		t.Run(path, func(t *testing.T) { assertNotImplemented(t, apiPath+path, path) })
	}
	for _, path := range []string{"/api/v1/search/messages", "/api/v1/search/contacts"} {
		t.Run(path, func(t *testing.T) { assertNotImplemented(t, path, path) })
	}
}

func assertNotImplemented(t *testing.T, path, name string) {
	t.Helper()
	s, baseURL := start(t, Config{})
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		status, answer := exchange(t, method, baseURL+path+"?token="+token, formType, "")
		assert.Equal(t, http.StatusNotImplemented, status)
		assert.JSONEq(t, `{"error":"The sandbox does not implement the call `+name+`"}`, answer)

		status, answer = exchange(t, method, baseURL+path+"?token=purr", formType, "")
		assert.Equal(t, http.StatusUnauthorized, status, "the token is checked first")
		assert.Equal(t, golden(t, "answers", "bad_token.json"), answer)
	}
	status, _ := exchange(t, http.MethodPost, baseURL+"/"+path+"/", formType, "token="+token)
	assert.Equal(t, http.StatusNotImplemented, status, "with extra slashes")
	s.SetFaults(Fault{Path: name, Status: http.StatusTeapot})
	status, _ = exchange(t, http.MethodPost, baseURL+path, formType, "token="+token)
	assert.Equal(t, http.StatusTeapot, status, "a fault matches its name")
}

func TestTheStatusNeedsTheToken(t *testing.T) {
	_, baseURL := start(t, Config{})
	status, _ := exchange(t, http.MethodGet, baseURL+apiPath+"/status", "", "")
	assert.Equal(t, http.StatusUnauthorized, status)
	status, answer := exchange(t, http.MethodGet, baseURL+apiPath+"/status?token="+url.QueryEscape(token), "", "")
	assert.Equal(t, http.StatusOK, status)
	assert.JSONEq(t, `{"success":true,"phone_number":"254700000000","status_message":"Sandbox","online":true}`, answer)
}

func TestABodyBeyondTheBoundIsRejected(t *testing.T) {
	s := New(Config{Token: token})
	status, _ := ask(s, "/send", "external_id=a&text="+strings.Repeat("x", maxBody-len("external_id=a&text=")))
	assert.Equal(t, http.StatusOK, status, "exactly the bound")
	status, answer := ask(s, "/send", strings.Repeat("x", maxBody+1))
	assert.Equal(t, http.StatusRequestEntityTooLarge, status)
	assert.JSONEq(t, `{"error":"the body is larger than 10 MiB"}`, answer)
	assert.Len(t, s.state.snapshot().Messages, 1)
}
