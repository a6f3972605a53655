"""Single kernels where torch launches many, each beside plain torch that says what it is."""
