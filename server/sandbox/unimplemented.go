package sandbox

import "strings"

// isUnimplemented reports whether Ongair has the call, by its documentation or by what its published clients do, and the
// sandbox does not. Such a call is answered with 501, so that nobody takes it for a wrong path.
func isUnimplemented(path string) bool {
	switch path {
	case "/send_video", "/send_audio", "/send_chain", "/send_location_prompt", "/send_telephone_prompt",
		"/send_contact", "/send_template", "/send_template_message", "/template_messages",
		"/create_group", "/create_contact",
		searchPath + "messages", searchPath + "contacts":
		return true
	}
	number, ok := strings.CutPrefix(path, "/conversations/")
	number, closes := strings.CutSuffix(number, "/close")
	return ok && closes && number != "" && !strings.Contains(number, "/")
}
