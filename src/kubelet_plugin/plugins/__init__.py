"""The plugins that ship with this package, by name."""

DOMAIN = "github.com.ihcsim"
