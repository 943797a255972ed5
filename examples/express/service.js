// An Express service that checks by itself who calls it, with jose. Run it with `npm start`.
import express from 'express'
import { createRemoteJWKSet, errors, jwtVerify } from 'jose'

const issuer = process.env.PORTCULLIS_ISSUER // token.issuer in portcullis.toml
const audience = process.env.PORTCULLIS_AUDIENCE // token.audience
// Fetched once in ten minutes, and for a key that is not in it; half a minute later at the earliest.
const keys = createRemoteJWKSet(new URL(process.env.PORTCULLIS_JWKS_URL), { timeoutDuration: 3000 })

const refuse = (response, detail, challenge) =>
  response.status(401).set('WWW-Authenticate', challenge).json({ detail })

/** Whether the token is at fault, rather than the key set, which could not be had. */
const isFaultOfToken = (error) =>
  error instanceof errors.JWKSNoMatchingKey || /^ERR_(JWT|JWS|JOSE_ALG|JOSE_NOT)_/.test(error.code)

/** Lets users through whose token is good, with its claims in `request.user`. */
async function caller(request, response, next) {
  const [, token] = /^Bearer +([^ ]+)$/i.exec(request.get('authorization') ?? '') ?? []
  if (!token) {
    return refuse(response, 'Authentication credentials were not provided.', 'Bearer')
  }
  try {
    const { payload } = await jwtVerify(token, keys, {
      algorithms: ['ES256'], // token.algorithm; never taken from the token
      typ: 'at+jwt', // RFC 9068 section 4
      issuer,
      audience,
      clockTolerance: 5,
      requiredClaims: ['exp', 'iat', 'sub'],
    })
    if (payload.token_type !== 'access') {
      return refuse(response, 'The token is not of a user.', 'Bearer error="invalid_token"')
    }
    request.user = payload
  } catch (error) {
    if (!isFaultOfToken(error)) {
      // Not 401: clients throw their tokens away on that.
      return response.status(503).set('Retry-After', '1').json({ detail: 'The key set cannot be fetched.' })
    }
    return refuse(response, 'The token is not valid.', 'Bearer error="invalid_token"')
  }
  next()
}

/** Lets only users through who have this role; stands after `caller`. */
const role = (name) => (request, response, next) =>
  request.user.roles?.includes(name) ? next() : response.status(403).json({ detail: `The role ${name} is needed here.` })

const app = express()
app.use('/orders', caller)
app.get('/orders', (request, response) => response.json({ user: request.user.sub, orders: [] }))
app.delete('/orders', role('superuser'), (request, response) => response.sendStatus(204)) // for administrators

const server = app.listen(process.env.PORT ?? 3000, '127.0.0.1', () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}`)
})
