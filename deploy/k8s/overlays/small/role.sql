-- Makes the role that Callboard connects as: it owns its database and has no further rights.
-- PostgreSQL's image runs this once, for a new data folder.
\set password `cat /secrets/postgres/password`
CREATE ROLE callboard LOGIN PASSWORD :'password';
CREATE DATABASE callboard OWNER callboard;
