"""Problems of this machine and installation, and their fixes."""
