// Package signin is the pages that a person signs in on: who are you, password,
// second factor, consent, the code from another device, sign-out.
//
// # Plain pages
//
// Every page is a form that works without script; passkeys, which only a script
// can reach, are the exception, and one small file serves them. Fields have
// labels and the autocomplete values that browsers and password managers know.
//
// # What a page is believed
//
// The protocol (package oauth, which this package does not know) asks a
// question, a state.Ask, and gets the browser back at the question's Return.
// The question travels through the browser as a sealed ticket, so that pages
// keep no state for people who have not signed in. A form is accepted only with
// a token that is bound to the browser's cookie, answers a POST with 303, and
// is never shown inside another site's frame.
//
// # Guessing
//
// Wrong passwords and wrong numbers are counted in etcd, before they are
// checked, for each account and apart for addresses that the account has signed
// in from before: strangers who guess lock themselves out, and not the person.
package signin
