"""nipype interfaces: load, call one pure function, save."""
