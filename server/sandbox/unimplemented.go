package sandbox

import "strings"

// isUnimplemented reports whether the sandbox lacks a call that Ongair's documentation or its
// published clients have. Such a call is answered with 501, because a 404 would suggest a wrong
// path.
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
