// Package docs holds the tests of the documentation: links lead somewhere, and
// what is quoted from a file is what the file says.
//
// Input: the Markdown files of the repository. It imports the standard library
// alone.
package docs
