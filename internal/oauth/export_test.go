package oauth

// ParseForm is parseForm, for fuzzing.
var ParseForm = parseForm
