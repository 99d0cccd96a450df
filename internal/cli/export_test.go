package cli

// Quote is quote.
var Quote = quote
