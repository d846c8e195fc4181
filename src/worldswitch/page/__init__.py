"""A campaign as one self-contained HTML page: no script, no request to anywhere."""
