// Verifies tokens with the package `jose`: a question a line on standard input, an answer a line on standard output.
import { createInterface } from 'node:readline'
import { createRemoteJWKSet, jwtVerify } from 'jose'

const sets = new Map()
for await (const line of createInterface({ input: process.stdin })) {
  const { token, jwks, ...options } = JSON.parse(line)
  if (!sets.has(jwks)) {
    sets.set(jwks, createRemoteJWKSet(new URL(jwks)))
  }
  const answer = await jwtVerify(token, sets.get(jwks), options).then(
    ({ payload }) => ({ claims: payload }),
    (error) => ({ refused: `${error.code ?? error.name}: ${error.message}` }),
  )
  console.log(JSON.stringify(answer))
}
