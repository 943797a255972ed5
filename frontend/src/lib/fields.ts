/// The rules for an account's fields, as the server has them: checked here first, so that the answer is at once.
import { check, email, maxLength, minLength, nonEmpty, pipe, string } from 'valibot';

export const username = pipe(
  string(),
  nonEmpty('Choose a username.'),
  maxLength(255, 'A username has up to 255 characters.'),
  check((name) => !/^[^@\s]+@[^@\s]+$/.test(name), 'A username cannot look like an email address.'),
);

export const emailAddress = pipe(
  string(),
  nonEmpty('Enter your email address.'),
  email('This does not look like an email address.'),
  maxLength(128, 'An email address has up to 128 characters.'),
);

export const newPassword = pipe(
  string(),
  minLength(8, 'A password has at least 8 characters.'),
  maxLength(128, 'A password has up to 128 characters.'),
);

export const currentPassword = pipe(string(), nonEmpty('Enter your password.'));
