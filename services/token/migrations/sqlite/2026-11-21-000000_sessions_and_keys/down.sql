DROP TABLE feed;
DROP TABLE clients;
DROP TABLE keys;
DROP TABLE revocations;
DROP TABLE subjects;
DROP TABLE sessions;
